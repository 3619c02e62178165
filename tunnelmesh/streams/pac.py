"""The file that tells a browser what goes through the proxy: the mesh, and nothing else.

No name is looked up in it: a page out there could then make its name lead into the mesh.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

MEDIA_TYPE = "application/x-ns-proxy-autoconfig"

_SCRIPT = """\
function FindProxyForURL(url, host) {{
  host = host.toLowerCase().replace(/^\\[|\\]$/g, "");
  var named = /\\.mesh$/.test(host);
  var ipv4 = /^[0-9]+(\\.[0-9]+){{3}}$/.test(host) && isInNet(host, "{address}", "{mask}");
  var ipv6 = host.indexOf("{prefix}") === 0;
  return named || ipv4 || ipv6 ? "PROXY {proxy}" : "DIRECT";
}}
"""


def pac(proxy: str, network: IPv4Network, network6: IPv6Network) -> str:
    """Write the file.

    :param proxy: ``HOST:PORT``, as the browser reaches it.
    :param network: of the mesh; *network6* the one of IPv6, of 48 bits.
    """
    prefix = network6.network_address.packed[:6].hex(":", 2) + ":"
    address, mask = network.network_address, network.netmask
    return _SCRIPT.format(proxy=proxy, address=address, mask=mask, prefix=prefix)
