"""The coordinator link as a WebSocket (RFC 6455): HTTPS, as far as firewalls and proxies can tell.

One binary message holds any whole number of frames (:mod:`tunnelmesh.wire.frame`). Autobahn does
the WebSocket; its timers are all off (they run on a global reactor), its log is mute (it reports
strangers' mistakes), and what it does per message beyond its job is overridden.
"""
