"""One HTTP connection from first to last: a request, its answer, the next request; or another protocol in its place."""
from interfaces.contract import Elapsed, ProtocolError, Upgrade
from interfaces.http.carried import Carriage, asked
from interfaces.http.origin import origin
from interfaces.http.protocol import HeadBegun, Request
from interfaces.http.turn import RETRY_AFTER, Turn, refuse


async def session(link, options, shared):
    try:
        while (request := await next_request(link, options)) is not None:
            if request.query_string and (found := asked(link, request)) is not None:
                if not await Carriage(link, options, request, found).run():
                    return
                link.renew()
                continue
            if request.upgrade is not None or link.purpose != "http":
                if await upgrade(link, options, request):
                    return
            if not await Turn(link, options, request).run():
                return
            link.renew()
    except ProtocolError as error:
        refuse(link, error.code, error.reason)


async def next_request(link, options):
    """The next request, or None when there will be none."""
    item = await link.event(options.idle)
    if item.__class__ is HeadBegun:
        item = await link.event(options.head_timeout)
        if item.__class__ is Elapsed:
            raise ProtocolError("the head took too long", 408)
    if item.__class__ is Request:
        return item
    link.close()            # idle for too long, or the peer or the server has no more to say
    return None


async def upgrade(link, options, request) -> bool:
    """Hand the connection over, if the request asks for a protocol that is spoken here (else it goes on as HTTP, RFC 9110
    7.8). False: it is a request like any other."""
    tokens = [token.strip().lower() for token in (request.upgrade or b"").split(b",")]
    asked = next((token for token in tokens if token in link.upgrades), None)
    if asked is None and link.purpose == "http":
        return False
    if asked is None or link.purpose not in ("http", link.upgrades[asked]):
        token = next(token for token, name in link.upgrades.items() if name == link.purpose)
        refuse(link, 426, "this listener speaks another protocol", ((b"upgrade", token),))
    elif request.method != "GET" or request.length != 0:
        # What stands behind the head would be a body to us and frames to the other protocol: a smuggler's tool.
        raise ProtocolError("an upgrade is a GET without a body", 400)
    else:
        await link.event()          # End
        client, server, scheme = origin(link, request.headers, options.trusted_proxies)
        if not link.become(link.upgrades[asked], Upgrade(
                asked.decode(), request.version, scheme, request.path, request.raw_path, request.query_string,
                options.root_path, request.headers, client, server)):
            refuse(link, 503, "there are too many connections of this kind", RETRY_AFTER)
    return True
