"""How a message is written as bytes in Redis: msgpack or JSON, the names of its channels in it, Fernet around it. Pure."""
import hashlib
import json
import struct
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from typing import Any

import msgpack

NAMES = "__asgi_channel__"              # the key that carries full names: a str, or a list of them


class BadValue(ValueError):
    """What was found in Redis isn't a message of ours: foreign, cut off, encrypted with another key, or too old."""


class Msgpack:
    """`opened(body) + tag(names)` is the body with NAMES as its last key, without packing the message again."""
    KEY = msgpack.packb(NAMES)

    @staticmethod
    def pack(message: dict) -> bytes:
        return msgpack.packb(message)

    @staticmethod
    def unpack(data: bytes) -> Any:
        return msgpack.unpackb(data, ext_hook=no_extension, timestamp=1)         # 1: as a float, a plain value

    @staticmethod
    def opened(body: bytes) -> bytes:
        kind = body[0]                      # of a map: fixmap 80-8f, map16 de, map32 df
        if kind < 0x8F:
            return bytes((kind + 1,)) + body[1:]
        count, start = (15, 1) if kind == 0x8F else ((int.from_bytes(body[1:3]), 3) if kind == 0xDE
                                                     else (int.from_bytes(body[1:5]), 5))
        count += 1
        return (struct.pack("!BH", 0xDE, count) if count < 1 << 16 else struct.pack("!BI", 0xDF, count)) + body[start:]

    @classmethod
    def tag(cls, names: str | list[str]) -> bytes:
        return cls.KEY + msgpack.packb(names)


class Json:
    """What channels_redis writes with `serializer_format: "json"`. It can't carry bytes: `pack` raises TypeError."""

    @staticmethod
    def pack(message: dict) -> bytes:
        return json.dumps(message).encode()

    unpack = staticmethod(json.loads)

    @staticmethod
    def opened(body: bytes) -> bytes:
        return body[:-1] + (b", " if len(body) > 2 else b"")

    @staticmethod
    def tag(names: str | list[str]) -> bytes:
        return f'"{NAMES}": {json.dumps(names)}}}'.encode()


def no_extension(code: int, data: bytes) -> Any:
    raise ValueError(f"a msgpack extension of type {code}")         # messages.md: values are plain ones and nothing else


class Seal:
    """Fernet as the stock layers use it: the first key encrypts, any decrypts; a token is good for `ttl` seconds."""

    def __init__(self, keys: Iterable[str], ttl: int):
        from cryptography.fernet import Fernet, InvalidToken, MultiFernet    # slow to import, and seldom wanted
        self.fernet = MultiFernet([Fernet(urlsafe_b64encode(hashlib.sha256(key.encode()).digest())) for key in keys])
        self.ttl, self.invalid = ttl, InvalidToken

    def encrypt(self, data: bytes, now: float) -> bytes:
        return self.fernet.encrypt_at_time(data, int(now))

    def decrypt(self, data: bytes, now: float) -> bytes:
        try:
            return self.fernet.decrypt_at_time(data, self.ttl, int(now))
        except self.invalid:
            raise BadValue(f"not encrypted with our keys, or not in the last {self.ttl} s") from None

    def reopen(self, data: bytes) -> bytes:
        """What was encrypted at any time."""
        try:
            return self.fernet.decrypt(data)
        except self.invalid:
            raise BadValue("not encrypted with our keys") from None
