"""Where sessions and retained messages are kept. Pure."""
from interfaces.contract import Done
from interfaces.mqtt.delivery import Message
from interfaces.mqtt.state import Session
from interfaces.mqtt.topics import Retained


class Memory:
    """In this process. A store elsewhere has the same methods, and writes behind; only `session` is waited for."""

    def __init__(self):
        self.sessions: dict[str, Session] = {}
        self.messages = Retained()
        self.size = 0                                   # bytes of the retained messages

    def session(self, client_id: str):
        return Done(self.sessions.get(client_id))

    def keep(self, session: Session) -> None:
        """It is new, or what it keeps has changed."""
        self.sessions[session.client_id] = session

    def drop(self, session: Session) -> None:
        self.sessions.pop(session.client_id, None)

    def retain(self, message: Message) -> None:
        before = self.messages.get(message.topic)
        self.size += message.size - (before.size if before is not None else 0)
        self.messages.set(message.topic, message)

    def release(self, topic: str) -> None:
        message = self.messages.remove(topic)
        if message is not None:
            self.size -= message.size
