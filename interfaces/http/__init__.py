"""HTTP/1.0 and 1.1 (RFC 9110, RFC 9112), with long-polls and event streams.

protocol.py   bytes <-> events: requests, bodies, answers; heads.py reads a request's head
messages.py   http.request, http.request.body, http.response, http.disconnect
origin.py     who the client is, where trusted proxies stand between (RFC 7239)
session.py    one connection from first to last; turn.py one request, upload.py its body
carried.py    requests that carry another protocol; own.py what the server answers itself
plugin.py     the Interface value and its options

Left out: HTTP/2, compression, static files, virtual hosts: a proxy in front does them.
"""
