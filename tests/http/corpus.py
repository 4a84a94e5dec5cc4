"""Real bytes, good and bad, and what must come of them under the default limits. Each has its RFC section or its bug.

`requests` are those that are read to their end, as (method, path, body); `cut` is one whose head is good and whose body
isn't, as (method, path, what of the body is passed on). `code` is the status that the fault is answered with.
"""
from dataclasses import dataclass

HOST = b"Host: a\r\n"


@dataclass(frozen=True)
class Case:
    name: str
    source: str
    said: bytes
    requests: tuple = ()
    cut: tuple | None = None
    code: int | None = None


def head(fields: bytes = HOST, line: bytes = b"GET / HTTP/1.1") -> bytes:
    return line + b"\r\n" + fields + b"\r\n"


def post(fields: bytes, body: bytes = b"") -> bytes:
    return head(HOST + fields, b"POST / HTTP/1.1") + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked\r\n", body)


ROOT = ("GET", "/", b"")
BODY = ("POST", "/", b"hello")
NEXT = ("GET", "/next", b"")
INNER = b"\r\n\r\nGET /x HTTP/1.1\r\nHost: b\r\n\r\n\r\n\r\n"
AFTER = head(line=b"GET /next HTTP/1.1")

GOOD = [
    Case("a request", "RFC 9112 2.1", head(), (ROOT,)),
    Case("two pipelined", "RFC 9112 9.3.2", head() + AFTER, (ROOT, NEXT)),
    Case("an empty line in front", "RFC 9112 2.2", b"\r\n" + head(), (ROOT,)),
    Case("an empty line behind a body", "RFC 9112 2.2",
         post(b"Content-Length: 5\r\n", b"hello\r\n") + AFTER, (BODY, NEXT)),
    Case("HTTP/1.0 without Host", "RFC 9112 3.2", head(b"Connection: keep-alive\r\n", b"GET / HTTP/1.0"), (ROOT,)),
    Case("an empty Host", "RFC 9112 3.2", head(b"Host:\r\n"), (ROOT,)),
    Case("Host with a port", "RFC 9110 7.2", head(b"Host: a.example:8000\r\n"), (ROOT,)),
    Case("Host, an IPv6 address", "RFC 3986 3.2.2", head(b"Host: [::1]:8000\r\n"), (ROOT,)),
    Case("Host with an underscore", "RFC 3986 2.3", head(b"Host: my_app\r\n"), (ROOT,)),
    Case("a body", "RFC 9112 6.2", post(b"Content-Length: 5\r\n", b"hello") + AFTER, (BODY, NEXT)),
    Case("a body with leading zeros", "RFC 9110 8.6",
         post(b"Content-Length: 0005\r\n", b"hello") + AFTER, (BODY, NEXT)),
    Case("a body of 5000 zeros", "Python's limit of int()", post(b"Content-Length: %b5\r\n" % (b"0" * 5000), b"hello"),
         (BODY,)),
    Case("an empty body", "RFC 9112 6.2", post(b"Content-Length: 0\r\n") + AFTER, (("POST", "/", b""), NEXT)),
    Case("a body of CRLF and a request", "RFC 9112 6.3", post(b"Content-Length: %d\r\n" % len(INNER), INNER) + AFTER,
         (("POST", "/", INNER), NEXT)),
    Case("chunks", "RFC 9112 7.1", chunked(b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n") + AFTER, (BODY, NEXT)),
    Case("chunks of nothing", "RFC 9112 7.1", chunked(b"0\r\n\r\n") + AFTER, (("POST", "/", b""), NEXT)),
    Case("chunk size with leading zeros", "RFC 9112 7.1",
         chunked(b"0005\r\nhello\r\n000\r\n\r\n") + AFTER, (BODY, NEXT)),
    Case("chunk size in both cases", "RFC 9112 7.1",
         chunked(b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n") + AFTER,
         (("POST", "/", b"0123456789" * 2), NEXT)),
    Case("chunk data like framing", "RFC 9112 7.1", chunked(b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n") + AFTER,
         (("POST", "/", b"\r\n0\r\n\r\n"), NEXT)),
    Case("chunk extensions", "RFC 9112 7.1.1", chunked(b'5;a;b=c;d="e;\\"f"\r\nhello\r\n0;last\r\n\r\n') + AFTER,
         (BODY, NEXT)),
    Case("trailers", "RFC 9112 7.1.2",
         chunked(b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nHost: evil\r\n\r\n") + AFTER, (BODY, NEXT)),
    Case("Chunked in capitals", "RFC 9112 7",
         post(b"Transfer-Encoding: CHUNKED\r\n", b"5\r\nhello\r\n0\r\n\r\n") + AFTER,
         (BODY, NEXT)),
    Case("a value between blanks", "RFC 9112 5", head(b"Host:\t a \t\r\n"), (ROOT,)),
    Case("a value that is empty", "RFC 9110 5.5", head(HOST + b"X:\r\nY: \r\n"), (ROOT,)),
    Case("a value in UTF-8", "RFC 9110 5.5", head(HOST + "X: ä\r\n".encode()), (ROOT,)),
    Case("path in UTF-8", "RFC 3986 2.5", head(line=b"GET /%C3%A4%2Fb?%zz HTTP/1.1"), (("GET", "/ä/b", b""),)),
    Case("path of two slashes", "RFC 9112 3.2.1", head(line=b"GET //evil.example/x HTTP/1.1"),
         (("GET", "//evil.example/x", b""),)),
    Case("absolute form", "RFC 9112 3.2.2", head(line=b"GET http://a/x?y HTTP/1.1"), (("GET", "/x", b""),)),
    Case("absolute form without a path", "RFC 9112 3.2.2", head(line=b"GET HTTPS://a:443 HTTP/1.1"), (ROOT,)),
    Case("absolute form, OPTIONS", "RFC 9112 3.2.4", head(line=b"OPTIONS http://a HTTP/1.1"), (("OPTIONS", "*", b""),)),
    Case("asterisk form", "RFC 9112 3.2.4", head(line=b"OPTIONS * HTTP/1.1"), (("OPTIONS", "*", b""),)),
    Case("websocket not upgraded", "RFC 9110 7.8",
         head(HOST + b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n") + AFTER, (ROOT, NEXT)),
    Case("h2c not upgraded, with a body", "RFC 9110 7.8",
         post(b"Connection: upgrade, http2-settings\r\nUpgrade: h2c\r\n"
         b"HTTP2-Settings: AA\r\nContent-Length: 5\r\n", b"hello") + AFTER, (BODY, NEXT)),
    Case("h2c not upgraded, with chunks", "RFC 9110 7.8", post(b"Connection: upgrade\r\nUpgrade: h2c\r\n"
         b"Transfer-Encoding: chunked\r\n", b"5\r\nhello\r\n0\r\n\r\n") + AFTER, (BODY, NEXT)),
    Case("expectation", "RFC 9110 10.1.1", post(b"Expect: 100-Continue\r\nContent-Length: 5\r\n", b"hello") + AFTER,
         (BODY, NEXT)),
    Case("framing in names with _", "CVE-2015-0219",
         head(HOST + b"Content_Length: 5\r\nTransfer_Encoding: x\r\n") + AFTER,
         (ROOT, NEXT)),
    Case("a head of 64 KiB", "Limits.max_head", head(HOST + b"X: %b\r\n" % (b"x" * (65536 - 32))), (ROOT,)),
    Case("100 fields", "Limits.max_fields", head(HOST + b"X: y\r\n" * 99), (ROOT,)),
    Case("a target of 16 KiB", "Limits.max_target", head(line=b"GET /%b HTTP/1.1" % (b"x" * 16383)),
         (("GET", "/" + "x" * 16383, b""),)),
]

LAST = [                                   # nothing that follows is read (RFC 9112 9.6)
    Case("Connection: close", "RFC 9112 9.6", head(HOST + b"Connection: x, Close\r\n") + AFTER, (ROOT,)),
    Case("HTTP/1.0", "RFC 9112 9.3", head(line=b"GET / HTTP/1.0") + b"junk", (ROOT,)),
    Case("HTTP/1.0, a body", "RFC 9112 9.3", head(b"Content-Length: 5\r\n", b"POST / HTTP/1.0") + b"hello!", (BODY,)),
    Case("HTTP/1.0, keep-alive and close", "RFC 9112 9.3",
         head(b"Connection: keep-alive, close\r\n", b"GET / HTTP/1.0"),
         (ROOT,)),
]


def bad(name: str, source: str, said: bytes, code: int = 400, cut: tuple | None = None) -> Case:
    return Case(name, source, said, (), cut, code)


def bad_chunk(name: str, source: str, body: bytes, code: int = 400, passed: bytes = b"") -> Case:
    return bad(name, source, chunked(body), code, ("POST", "/", passed))


CL5 = b"Content-Length: 5\r\n"
TE = b"Transfer-Encoding: chunked\r\n"
FRAMING = [
    bad("CL and TE", "RFC 9112 6.1, CL.TE", post(CL5 + TE, b"0\r\n\r\nGET /x HTTP/1.1\r\n\r\n")),
    bad("TE and CL", "RFC 9112 6.1, TE.CL", post(TE + CL5, b"0\r\n\r\n")),
    bad("two CL", "RFC 9112 6.3", post(CL5 + b"Content-Length: 6\r\n", b"hello!")),
    bad("two equal CL", "RFC 9112 6.3", post(CL5 + CL5, b"hello")),
    bad("CL 5, 5", "RFC 9110 8.6", post(b"Content-Length: 5, 5\r\n", b"hello")),
    bad("CL +5", "RFC 9110 8.6, CVE-2018-7159", post(b"Content-Length: +5\r\n", b"hello")),
    bad("CL -5", "RFC 9110 8.6", post(b"Content-Length: -5\r\n", b"hello")),
    bad("CL 0x5", "RFC 9110 8.6", post(b"Content-Length: 0x5\r\n", b"hello")),
    bad("CL 1_0", "Python's int()", post(b"Content-Length: 1_0\r\n", b"hellohello")),
    bad("CL 1 0", "CVE-2018-7159", post(b"Content-Length: 1 0\r\n", b"hellohello")),
    bad("CL 5.0", "RFC 9110 8.6", post(b"Content-Length: 5.0\r\n", b"hello")),
    bad("CL, Arabic digit", "Python's str.isdigit", post("Content-Length: ٥\r\n".encode(), b"hello")),
    bad("CL empty", "RFC 9110 8.6", post(b"Content-Length:\r\n", b"hello")),
    bad("TE xchunked", "RFC 9112 6.1", post(b"Transfer-Encoding: xchunked\r\n")),
    bad("TE identity", "RFC 9112 7", post(b"Transfer-Encoding: identity\r\n")),
    bad("TE chunked, identity", "RFC 9112 6.1", post(b"Transfer-Encoding: chunked, identity\r\n")),
    bad("TE empty", "RFC 9112 6.1", post(b"Transfer-Encoding:\r\n")),
    bad("TE with a vertical tab", "CVE-2019-18277", post(b"Transfer-Encoding: \x0bchunked\r\n", b"0\r\n\r\n")),
    bad("TE twice", "RFC 9112 6.1, TE.TE", post(TE + TE, b"0\r\n\r\n")),
    bad("TE gzip, chunked", "RFC 9112 6.1", post(b"Transfer-Encoding: gzip, chunked\r\n"), 501),
    bad("TE in HTTP/1.0", "RFC 9112 6.1", head(HOST + TE, b"POST / HTTP/1.0") + b"0\r\n\r\n"),
    bad("TE with a blank in its name", "CVE-2019-16869", post(b"Transfer-Encoding : chunked\r\n", b"0\r\n\r\n")),
]
HEADS = [
    bad("space before the colon", "RFC 9112 5.1", head(HOST + b"X : y\r\n")),
    bad("tab before the colon", "RFC 9112 5.1", head(HOST + b"X\t: y\r\n")),
    bad("obs-fold", "RFC 9112 5.2", head(HOST + b"X: y\r\n z\r\n")),
    bad("obs-fold in the first field", "RFC 9112 2.2", head(b" X: y\r\n" + HOST)),
    bad("a field without a colon", "RFC 9112 5", head(HOST + b"X\r\n")),
    bad("a field without a name", "RFC 9112 5", head(HOST + b": y\r\n")),
    bad("a name that is no token", "RFC 9110 5.1", head(HOST + b"X(: y\r\n")),
    bad("a name in Latin-1", "RFC 9110 5.1", head(HOST + b"X\xe4: y\r\n")),
    bad("bare LF, all lines", "RFC 9112 2.2", b"GET / HTTP/1.1\nHost: a\n\n"),
    bad("bare LF, one field", "RFC 9112 2.2", head(HOST + b"X: y\nZ: z\r\n")),
    bad("bare LF, empty line", "RFC 9112 2.2", b"GET / HTTP/1.1\r\nHost: a\r\n\nGET /x HTTP/1.1\r\n\r\n"),
    bad("bare CR in a value", "RFC 9112 2.2, CVE-2023-30589", head(HOST + b"X: y\rContent-Length: 5\r\n")),
    bad("bare CR for the empty line", "CVE-2023-30589", b"GET / HTTP/1.1\r\nHost: a\r\n\rGET /x HTTP/1.1\r\n\r\n"),
    bad("CR CR LF", "RFC 9112 2.2", b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n"),
    bad("NUL in a value", "RFC 9110 5.5", head(HOST + b"X: y\0z\r\n")),
    bad("NUL in a name", "RFC 9110 5.1", head(HOST + b"X\0: y\r\n")),
    bad("a control character in a value", "RFC 9110 5.5", head(HOST + b"X: y\x01\r\n")),
    bad("DEL in a value", "RFC 9110 5.5", head(HOST + b"X: y\x7f\r\n")),
    bad("two empty lines in front", "RFC 9112 2.2", b"\r\n\r\n" + head()),
    bad("a TLS ClientHello", "RFC 8446 5.1", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"),
    bad("a head over 64 KiB", "Limits.max_head", head(HOST + b"X: %b\r\n" % (b"x" * (65536 - 31))), 431),
    bad("a head without an end", "Limits.max_head", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 11000, 431),
    bad("64 KiB of a head", "Limits.max_head", b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10920, 431),
    bad("101 fields", "Limits.max_fields", head(HOST + b"X: y\r\n" * 100), 431),
    bad("a body over 512 MiB", "Limits.max_body", post(b"Content-Length: 536870913\r\n"), 413),
    bad("a body of 2**64", "RFC 9110 8.6", post(b"Content-Length: 18446744073709551616\r\n"), 413),
    bad("a body of 5000 digits", "Python's limit of int()", post(b"Content-Length: %b\r\n" % (b"9" * 5000)), 413),
    bad("another expectation", "RFC 9110 10.1.1", post(b"Expect: tea\r\n" + CL5, b"hello"), 417),
    bad("two expectations", "RFC 9110 10.1.1", post(b"Expect: 100-continue\r\nExpect: tea\r\n" + CL5, b"hello"), 417),
]
HOSTS = [
    bad("no Host", "RFC 9112 3.2", head(b"")),
    bad("no Host but Host_", "CVE-2015-0219", head(b"Host_: a\r\n")),
    bad("two Hosts", "RFC 9112 3.2", head(HOST + b"host: b\r\n")),
    bad("two equal Hosts", "RFC 9112 3.2", head(HOST + HOST)),
    bad("two Hosts in HTTP/1.0", "RFC 9112 3.2", head(HOST + HOST, b"GET / HTTP/1.0")),
    bad("Host with user", "RFC 9110 4.2.4", head(b"Host: u@a\r\n")),
    bad("Host with blank", "RFC 9110 7.2", head(b"Host: a b\r\n")),
    bad("Host list", "RFC 9110 7.2", head(b"Host: a, b\r\n")),
    bad("Host with path", "RFC 9110 7.2, CVE-2022-39348", head(b"Host: a/b\r\n")),
    bad("Host with markup", "CVE-2022-39348", head(b"Host: <b>a</b>\r\n")),
    bad("Host with a control character", "RFC 9110 7.2", head(b"Host: a\tb\r\n")),
    bad("Host with a word for port", "RFC 9110 7.2", head(b"Host: a:b\r\n")),
    bad("Host with two ports", "RFC 9110 7.2", head(b"Host: a:1:2\r\n")),
    bad("Host with half a bracket", "RFC 3986 3.2.2", head(b"Host: [::1\r\n")),
    bad("Host with a broken escape", "RFC 3986 2.1", head(b"Host: a%zz\r\n")),
    bad("absolute form without Host", "RFC 9112 3.2", head(b"", b"GET http://a/ HTTP/1.1")),
    bad("absolute form with a bad Host", "RFC 9112 3.2", head(b"Host: u@a\r\n", b"GET http://a/ HTTP/1.1")),
]
LINES = [
    bad("no version", "llhttp issue 877", head(line=b"GET /")),
    bad("no version, bare LF", "llhttp issue 877", b"GET /x\nHost: a\r\n\r\n"),
    bad("no target", "RFC 9112 3", head(line=b"GET HTTP/1.1")),
    bad("nothing but words", "RFC 9112 3", head(line=b"hello")),
    bad("two blanks", "RFC 9112 3", head(line=b"GET  / HTTP/1.1")),
    bad("a tab for a blank", "RFC 9112 3", head(line=b"GET\t/ HTTP/1.1")),
    bad("a blank in front", "RFC 9112 3", head(line=b" GET / HTTP/1.1")),
    bad("a blank behind", "RFC 9112 3", head(line=b"GET / HTTP/1.1 ")),
    bad("a blank in the target", "RFC 9112 3.2", head(line=b"GET /a b HTTP/1.1")),
    bad("http in small letters", "RFC 9112 2.3", head(line=b"GET / http/1.1")),
    bad("HTTP/1.10", "RFC 9112 2.3", head(line=b"GET / HTTP/1.10")),
    bad("HTTP/01.1", "RFC 9112 2.3", head(line=b"GET / HTTP/01.1")),
    bad("another protocol", "RTSP", head(line=b"GET / RTSP/1.0")),
    bad("HTTP/0.9", "RFC 9110 15.6.6", head(line=b"GET / HTTP/0.9"), 505),
    bad("HTTP/1.2", "RFC 9110 15.6.6", head(line=b"GET / HTTP/1.2"), 505),
    bad("HTTP/2.0", "RFC 9110 15.6.6", head(line=b"GET / HTTP/2.0"), 505),
    bad("HTTP/2 preface", "RFC 9113 3.4", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    bad("a method in small letters", "RFC 9110 9.1", head(line=b"get / HTTP/1.1"), 501),
    bad("an unknown method", "RFC 9110 15.6.2", head(line=b"BREW / HTTP/1.1"), 501),
    bad("a method of 8000", "RFC 9112 3", head(line=b"A" * 8000 + b" / HTTP/1.1"), 501),
    bad("a method that is no token", "RFC 9110 9.1", head(line=b"G@T / HTTP/1.1")),
    bad("CONNECT", "RFC 9110 9.3.6", head(line=b"CONNECT a:80 HTTP/1.1"), 501),
    bad("authority form", "RFC 9112 3.2.3", head(line=b"GET a:80 HTTP/1.1")),
    bad("asterisk for GET", "RFC 9112 3.2.4", head(line=b"GET * HTTP/1.1")),
    bad("a path without a slash", "RFC 9112 3.2.1", head(line=b"GET x HTTP/1.1")),
    bad("absolute form, another scheme", "RFC 9112 3.2.2", head(line=b"GET ftp://a/ HTTP/1.1")),
    bad("absolute form without a host", "RFC 9110 4.2.1", head(line=b"GET http:///x HTTP/1.1")),
    bad("absolute form with user", "RFC 9110 4.2.4", head(line=b"GET http://u:p@a/ HTTP/1.1")),
    bad("a fragment", "RFC 9112 3.2", head(line=b"GET /#x HTTP/1.1")),
    bad("a target in Latin-1", "RFC 3986 2", head(line=b"GET /\xe4 HTTP/1.1")),
    bad("a target with DEL", "RFC 3986 2", head(line=b"GET /\x7f HTTP/1.1")),
    bad("a target with NUL", "RFC 3986 2", head(line=b"GET /\0 HTTP/1.1")),
    bad("a path in Latin-1", "messages.md 2", head(line=b"GET /%E4 HTTP/1.1")),
    bad("an overlong slash", "RFC 3629 10", head(line=b"GET /..%C0%AF HTTP/1.1")),
    bad("a surrogate", "RFC 3629 3", head(line=b"GET /%ED%A0%80 HTTP/1.1")),
    bad("a broken escape", "RFC 3986 2.1", head(line=b"GET /%4 HTTP/1.1")),
    bad("an escape of no hex", "RFC 3986 2.1", head(line=b"GET /%zz HTTP/1.1")),
    bad("%00", "CWE-158", head(line=b"GET /a%00.txt HTTP/1.1")),
    bad("a target over 16 KiB", "Limits.max_target", head(line=b"GET /%b HTTP/1.1" % (b"x" * 16384)), 414),
    bad("a target without an end", "Limits.max_head", b"GET /" + b"x" * 70000, 414),
]
CHUNKS = [
    bad_chunk("size 0x5", "RFC 9112 7.1", b"0x5\r\nhello\r\n0\r\n\r\n"),
    bad_chunk("size +5", "RFC 9112 7.1", b"+5\r\nhello\r\n0\r\n\r\n"),
    bad_chunk("size -5", "RFC 9112 7.1", b"-5\r\nhello\r\n0\r\n\r\n"),
    bad_chunk("size 1_0", "Python's int()", b"1_0\r\nhello\r\n0\r\n\r\n"),
    bad_chunk("size empty", "RFC 9112 7.1", b"\r\nhello\r\n0\r\n\r\n"),
    bad_chunk("size of no hex", "RFC 9112 7.1", b"g\r\nhello\r\n0\r\n\r\n"),
    bad_chunk("size with a blank in front", "RFC 9112 7.1", b" 5\r\nhello\r\n0\r\n\r\n"),
    bad_chunk("size with a blank behind", "h11, llhttp", b"5 \r\nhello\r\n0\r\n\r\n"),
    bad_chunk("size of 17 digits", "CVE-2013-2028", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    bad_chunk("size over 512 MiB", "CVE-2013-2028", b"7fffffffffffffff\r\nhello\r\n", 413),
    bad_chunk("sizes together over 512 MiB", "Limits.max_body", b"5\r\nhello\r\n1fffffff\r\n", 413, b"hello"),
    bad_chunk("data longer than its size", "RFC 9112 7.1, CVE-2025-43859", b"5\r\nhelloXX0\r\n\r\n", 400, b"hello"),
    bad_chunk("data shorter than its size", "RFC 9112 7.1", b"6\r\nhello\r\n0\r\n\r\n", 400, b"hello\r"),
    bad_chunk("bare LF behind a size", "TERM.EXT, CVE-2024-52531", b"5\nhello\r\n0\r\n\r\n"),
    bad_chunk("bare LF behind data", "CVE-2025-43859", b"5\r\nhello\n0\r\n\r\n", 400, b"hello"),
    bad_chunk("bare CR behind a size", "RFC 9112 7.1", b"5\rhello\r\n0\r\n\r\n"),
    bad_chunk("bare LF in an extension", "CVE-2025-22871", b"5;a\nhello\r\n0\r\n\r\n"),
    bad_chunk("bare CR in an extension", "EXT.TERM", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    bad_chunk("LF in a quoted extension", "RFC 9110 5.6.4", b'5;a="\n"\r\nhello\r\n0\r\n\r\n'),
    bad_chunk("NUL in an extension", "RFC 9112 7.1.1", b"5;a\0\r\nhello\r\n0\r\n\r\n"),
    bad_chunk("an extension without a name", "RFC 9112 7.1.1", b"5;\r\nhello\r\n0\r\n\r\n"),
    bad_chunk("an open quote", "RFC 9110 5.6.4", b'5;a="b\r\nhello\r\n0\r\n\r\n'),
    bad_chunk("one extension of 20 KiB", "CVE-2024-22019", b"5;" + b"a" * 20480 + b"\r\nhello\r\n0\r\n\r\n"),
    bad_chunk("an extension without an end", "CVE-2024-22019", b"5;" + b"a" * 70000),
    bad_chunk("20 KiB of extensions", "CVE-2024-22019", b"1;abcdefgh\r\nx\r\n" * 2300, 400, b"x" * 1822),
    bad_chunk("a trailer without a colon", "RFC 9112 7.1.2", b"5\r\nhello\r\n0\r\nX\r\n\r\n", 400, b"hello"),
    bad_chunk("a folded trailer", "RFC 9112 5.2", b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n", 400, b"hello"),
    bad_chunk("a blank before a trailer's colon", "RFC 9112 5.1", b"5\r\nhello\r\n0\r\nX : y\r\n\r\n", 400, b"hello"),
    bad_chunk("bare LF behind a trailer", "RFC 9112 2.2", b"5\r\nhello\r\n0\r\nX: y\n\r\n", 400, b"hello"),
    bad_chunk("bare LF for the last line", "RFC 9112 2.2", b"5\r\nhello\r\n0\r\n\n", 400, b"hello"),
    bad_chunk("bare CR in a trailer", "RFC 9112 2.2", b"5\r\nhello\r\n0\r\nX: y\rz\r\n\r\n", 400, b"hello"),
    bad_chunk("NUL in a trailer", "RFC 9110 5.5", b"5\r\nhello\r\n0\r\nX: \0\r\n\r\n", 400, b"hello"),
    bad_chunk("a request for a trailer", "RFC 9112 7.1.2", b"0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    bad_chunk("Content-Length for a trailer", "RFC 9110 6.5.1", b"0\r\nContent-length: 5\r\n\r\n"),
    bad_chunk("Transfer-Encoding for a trailer", "RFC 9110 6.5.1", b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    bad_chunk("101 trailers", "Limits.max_fields", b"0\r\n" + b"X: y\r\n" * 101 + b"\r\n", 431),
    bad_chunk("70 KiB of trailer", "Limits.max_head", b"0\r\nX: " + b"y" * 70000, 431),
    bad_chunk("70 KiB of trailers", "Limits.max_head", b"0\r\n" + (b"X: " + b"y" * 1000 + b"\r\n") * 70, 431),
]
BEHIND = [
    Case("junk behind a request", "RFC 9112 9.3.2", head() + b"junk\r\n\r\n", (ROOT,), None, 400),
    Case("more body than declared", "RFC 9112 6.3", post(CL5, b"hello world\r\n\r\n"), (BODY,), None, 400),
    Case("a body behind GET", "CL.0", head() + b"a=b\r\n\r\n", (ROOT,), None, 400),
    Case("frames behind a refused upgrade", "RFC 6455 4.1",
         head(HOST + b"Connection: Upgrade\r\nUpgrade: websocket\r\n") + b"\x81\x85\0\0\0\0hello", (ROOT,), None, 400),
]
BAD = FRAMING + HEADS + HOSTS + LINES + CHUNKS


def storm_corpus() -> list[bytes]:
    """What tests/test_laws.py throws at the session: all of it, and bodies of several parts."""
    large = bytes(range(256)) * 800
    return [case.said for case in GOOD + LAST + BAD + BEHIND] + [
        post(b"Content-Length: %d\r\n" % len(large), large), post(b"Content-Length: 200000\r\n", large[:70_000]),
        chunked(b"".join(b"%x\r\n%s\r\n" % (len(large[at:at + 50_000]), large[at:at + 50_000])
                         for at in range(0, len(large), 50_000)) + b"0\r\n\r\n")]
