"""Who is told what happens to rollouts: channels behind one protocol, bounded, and never in the way of a decision.

- `protocol`: what is told, and what a notifier is.
- `chat`: Slack, Teams, Discord and others through Apprise. `webhook`: signed JSON.
- `templates`: from a notification to a title and a text.
- `limiting`: how much a channel is told; pure.
- `dispatcher`: a queue and a task for each channel.
- `config`: the operator's configuration of all this.

A further notifier is a file here and a line in `KINDS`. Channels are the administrator's: objects only name them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from promptrollout.notify import chat, webhook
from promptrollout.notify.config import ALL, ChannelConfig, NotificationsConfig
from promptrollout.notify.dispatcher import Channel, Dispatcher, Hooks, Result
from promptrollout.notify.protocol import Letter, Notification, Notifier, NotifierError
from promptrollout.remote.files import load_model

__all__ = [
    "ALL",
    "KINDS",
    "ChannelConfig",
    "Dispatcher",
    "Hooks",
    "Kind",
    "Letter",
    "Notification",
    "NotificationsConfig",
    "Notifier",
    "NotifierError",
    "Result",
    "dispatcher_of",
    "load_notifications",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of channel: what its settings must be (ValueError), and what sends to it."""

    check: Callable[[ChannelConfig], None]
    open: Callable[[ChannelConfig], Notifier]


#: What `type` of a channel may say.
KINDS: Mapping[str, Kind] = {
    "webhook": Kind(webhook.check, webhook.JsonWebhook),
    **dict.fromkeys(chat.SERVICES, Kind(chat.check, chat.Chat)),
}


def load_notifications(file: Path) -> NotificationsConfig:
    """The configuration in a YAML file. Raises ValueError, with the path of the field that is wrong."""
    config = load_model(file, NotificationsConfig)
    for name, channel in config.channels.items():
        path = f"{file}: channels.{name}"
        if channel.type not in KINDS:
            raise ValueError(f"{path}.type: {channel.type!r} is not known; known are {', '.join(KINDS)}")
        try:
            KINDS[channel.type].check(channel)
        except ValueError as error:
            raise ValueError(f"{path}.{error}") from None
    return config


def dispatcher_of(config: NotificationsConfig, hooks: Hooks) -> Dispatcher:
    """Every channel, not started yet."""
    if not config.channels:
        return Dispatcher({})
    # Imported here: templates are Jinja2's, 2 MiB of memory that an operator without channels does not need.
    from promptrollout.notify.templates import compiled  # noqa: PLC0415

    return Dispatcher(
        {
            name: Channel(
                name,
                channel,
                KINDS[channel.type].open(channel),
                compiled(channel.title or config.title, channel.template or config.template),
                hooks,
            )
            for name, channel in config.channels.items()
        }
    )
