"""A peer for ``twistd -y``: ``TUNNELMESH_OPTIONS=--tun-name=tm1 twistd -ny peer.tac``.

The variable holds what would follow ``twistd tunnelmesh --role=peer`` on a command line.
"""

import os
import shlex

from twisted.application.service import Application

from tunnelmesh.tap import Options, makeService

options = Options()
options.parseOptions(["--role=peer", *shlex.split(os.environ.get("TUNNELMESH_OPTIONS", ""))])

application = Application("tunnelmesh")
makeService(options).setServiceParent(application)
