"""Where sessions and retained messages are kept. Pure."""
from interfaces.contract import DONE, Done
from interfaces.mqtt.delivery import Message
from interfaces.mqtt.state import Session
from interfaces.mqtt.topics import Retained


class Memory:
    """In this process; redis.Redis keeps them elsewhere too. `lasting`: it does; `listening`: it wants to hear of messages."""
    lasting = listening = False

    def __init__(self):
        self.sessions: dict[str, Session] = {}
        self.messages = Retained()
        self.size = 0                                   # bytes of the retained messages

    # Sessions

    def session(self, client_id: str):
        """The one that is kept, or None. From now on it is at home here."""
        return Done(self.sessions.get(client_id))

    def kept(self, client_id: str):
        """(user name, expiry) of the one that is kept, wherever it is, or None."""
        session = self.sessions.get(client_id)
        return DONE if session is None else Done((session.username, session.expiry))

    def keep(self, session: Session) -> None:
        """It is new, or its client has come or gone."""
        self.sessions[session.client_id] = session

    def note(self, session: Session, field: str, value) -> None:
        """Something else that is kept of it has changed (records.py). None: it is no more."""

    def drop(self, session: Session) -> None:
        """It has ended."""

    def forget(self, session: Session) -> None:
        if self.sessions.get(session.client_id) is session:
            del self.sessions[session.client_id]

    # Other servers: there are none

    def hear(self, event) -> None:
        """What another server says of sessions."""

    def late(self, message: Message, former: str) -> None:
        """What came for a server that is gone."""

    # Retained messages

    def crowded(self, message: Message, limits) -> bool:
        """There is no room for it among them."""
        before = self.messages.get(message.topic)
        return before is None and len(self.messages) >= limits.max_retained or (
            self.size - (before.size if before is not None else 0) + message.size > limits.max_retained_bytes)

    def retain(self, message: Message) -> None:
        before = self.messages.get(message.topic)
        self.size += message.size - (before.size if before is not None else 0)
        self.messages.set(message.topic, message)

    def release(self, topic: str) -> None:
        message = self.messages.remove(topic)
        if message is not None:
            self.size -= message.size

    def settled(self):
        """What has been kept until now would survive."""
        return DONE

    def close(self):
        return DONE
