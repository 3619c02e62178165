"""The SSH tunnel: a coordinator link over twisted.conch.

One SSH connection carries one channel, whose data is the stream of frames. Both ends are ILinks
(:mod:`tunnelmesh.transports.ssh.channel`), made by
:func:`tunnelmesh.transports.ssh.server.make_ssh_factory` and
:func:`tunnelmesh.transports.ssh.client.connect`. Import these lazily: they bring twisted.conch in.
"""
