"""Shared subscriptions (MQTT 5.0, 4.8.2). Pure."""
from collections import deque

from interfaces.mqtt.delivery import Message, Wanted
from interfaces.mqtt.state import Session


class Share:
    """One shared subscription, `name` with its filter: one of its sessions gets each message, in turn; one of all servers'
    sessions, where they can agree on it (`store.arbitrate`)."""
    __slots__ = ("name", "store", "members", "turn")

    def __init__(self, name: str, store):
        self.name, self.store = name, store
        self.members: dict[Session, Wanted] = {}
        self.turn: deque[Session] = deque()

    def add(self, session: Session, wanted: Wanted) -> bool:
        """Whether it is new."""
        new = session not in self.members
        if new:
            self.turn.append(session)
        self.members[session] = wanted
        return new

    def remove(self, session: Session) -> None:
        if self.members.pop(session, None) is not None:
            self.turn.remove(session)

    def deliver(self, message: Message, wanted: Wanted) -> None:
        """`wanted` is nothing of a share's."""
        if self.store.lasting and message.id is not None:
            self.store.arbitrate(self, message)
        else:
            self.give(message)

    def among(self, sessions: set[Session]) -> bool:
        return any(session in sessions for session in self.members)

    @property
    def present(self) -> bool:
        return any(session.client is not None for session in self.members)

    def give(self, message: Message) -> None:
        """Who is there and reads comes first, then who is there, then who may come back."""
        best, rank = None, 0
        for session in self.turn:
            fitness = 1 if session.client is None else 3 if session.client.link.drained and not session.queue else 2
            if fitness > rank:
                best, rank = session, fitness
                if rank == 3:
                    break
        if best is not None:
            self.turn.remove(best)
            self.turn.append(best)
            best.deliver(message, self.members[best])
