"""A coordinator for ``twistd -y``: ``TUNNELMESH_OPTIONS=--https-port=443 twistd -ny coordinator.tac``.

The variable holds what would follow ``twistd tunnelmesh --role=coordinator`` on a command line.
"""

import os
import shlex

from twisted.application.service import Application

from tunnelmesh.tap import Options, makeService

options = Options()
options.parseOptions(["--role=coordinator", *shlex.split(os.environ.get("TUNNELMESH_OPTIONS", ""))])

application = Application("tunnelmesh")
makeService(options).setServiceParent(application)
