"""The dashboard: the mesh as its owner sees it, in a browser, on the coordinator's HTTPS port.

``tunnelmesh dashboard`` prints a link that signs a browser in, once (:mod:`.sessions`,
:mod:`.signing`). The page (``files/``) opens a WebSocket (:mod:`.viewers`) by which it is sent what
there is to see (:mod:`.view`), first all of it and then what changes. What its owner does there are
POST requests (:mod:`.actions`).
"""
