"""WebSocket (RFC 6455) with permessage-deflate (RFC 7692), reached by an upgrade from HTTP/1.1.

protocol.py   bytes <-> events; handshake.py the request that asks and its answers, frames.py what comes of bytes,
              compression.py permessage-deflate
tunnel.py     another protocol inside WebSocket
fallback.py   the same where requests of HTTP carry it (docs/fallback.md)
messages.py   websocket.connect, .receive, .disconnect; websocket.accept, .send, .close, .http.response
session.py    one connection from first to last
plugin.py     the Interface value and its options

Left out: HTTP/2 (RFC 8441), other extensions, contexts kept from one compressed message to the next.
"""
