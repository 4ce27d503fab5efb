"""What probes and operators send in a run: ordinary use, and everything that must not be charged twice or not at all."""

from typing import TYPE_CHECKING, Any

from sim_tariff import DAY_MS, MICROS, PLAN

from pipeline.adapters import memory_broker
from pipeline.adapters.avro import ACCEPTED_USAGE, ACCOUNT_COMMAND, USAGE_RECORD
from pipeline.topics import ACCOUNT_COMMAND as COMMANDS
from pipeline.topics import USAGE_ACCEPTED, partition_of

if TYPE_CHECKING:
    from sim_world import World

ACCOUNTS = ("ann", "bob", "cat", "dan")
_COMMAND_FIELDS = dict.fromkeys(field["name"] for field in ACCOUNT_COMMAND.schema["fields"])


def phone(number: int) -> str:
    """Return the number that account `number` opens with, or that nobody has."""
    return f"+86139000000{number:02}"


class Story:
    """Draws what is sent next; remembers what was sent, to send it again."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._rng = world.rng
        self.published = 0
        self.records: list[dict[str, Any]] = []
        self.commands: list[dict[str, Any]] = []
        self._to_open = list(range(len(ACCOUNTS)))
        self._deadly = 1 if self._rng.random() < 0.08 else 0
        self._deadly_commands = 1 if self._rng.random() < 0.04 else 0
        self._moves = self._rng.random() < 0.4

    def open_some(self) -> None:
        """Send the commands that open most accounts."""
        for _ in range(self._rng.randrange(1, len(ACCOUNTS) + 1)):
            self._open(self._to_open.pop(0))

    def publish(self) -> None:
        """Send a few things."""
        for _ in range(self._rng.randrange(1, 4)):
            if self._to_open and (self.published < 2 or self._rng.random() < 0.3):
                self._open(self._to_open.pop(0))
            elif self._rng.random() < 0.25:
                self._command()
            else:
                self._use()
            self.published += 1

    # --- use ---

    def _use(self) -> None:
        rng, chance = self._rng, self._rng.random()
        world = self._world
        if chance < 0.03:
            world.topics.receive(rng.randrange(2), world.clock, rng.choice((b"junk", None, b"\xc3\x01", b"")))
        elif chance < 0.05:
            self._on_accepted_topic()
        elif chance < 0.22 and self.records:
            again = dict(rng.choice(self.records))
            again["retransmission"] = True
            self._receive(again)
        elif chance < 0.26 and self.records:
            other = dict(rng.choice(self.records))
            other["duration_ms" if other["service"] == "VOICE" else "cause_for_closing"] = 16 + rng.randrange(3)
            self._receive(other)
        else:
            self._receive(self._record())

    def _receive(self, record: dict[str, Any]) -> None:
        self._world.say("a probe sends %s", record)
        self._world.topics.receive(self._rng.randrange(2), self._world.clock, USAGE_RECORD.encode(record))

    def _record(self) -> dict[str, Any]:
        rng, world = self._rng, self._world
        service = rng.choice(("VOICE", "VOICE", "DATA", "DATA", "SMS", "EVENT", "EVENT", "MMS"))
        age = rng.choice(
            (0, 0, 0, 60_000, 60_000, 3_600_000, 3_600_000, DAY_MS, 2 * DAY_MS, 9 * DAY_MS, 34 * DAY_MS, 39 * DAY_MS)
        )
        account = rng.randrange(len(ACCOUNTS) + (rng.random() < 0.1))
        record: dict[str, Any] = {
            "record_id": f"r{len(self.records)}", "source": "msc", "service": service, "direction": "MO",
            "msisdn": phone(account), "start_time": world.clock - age, "retransmission": False, "duration_ms": 0,
            "message_count": 1,
        }  # fmt: skip
        if service == "VOICE":
            record |= {"duration_ms": rng.randrange(1, 90_000), "message_count": 0}
        elif service == "DATA":
            record |= {"downlink_octets": rng.randrange(1, 6 * MICROS), "message_count": 0}
        elif service == "EVENT":
            # a session's parts lie within a day or so
            record |= {
                "session_id": f"s{account}-{record['start_time'] // DAY_MS}",
                "message_count": rng.randrange(1, 4),
            }
            if rng.random() < 0.2:
                record["session_id"] = None
        if self._deadly and len(self.records) > 8:
            self._deadly = 0
            record["cell"] = "deadly"
        self.records.append(record)
        return record

    def _on_accepted_topic(self) -> None:
        """Put what mediate would never write before charge: rubbish, or a record of another partition."""
        rng, world = self._rng, self._world
        partition = rng.randrange(2)
        value = b"rubbish"
        if rng.random() < 0.5:
            record = self._record()
            value = ACCEPTED_USAGE.encode(
                {"account": ACCOUNTS[rng.randrange(4)], "received_at": world.clock, "source_topic": "direct",
                 "source_partition": 0, "source_offset": 0, "on_net": False, **record}
            )  # fmt: skip
        offset = world.broker.append(USAGE_ACCEPTED.name, partition, b"k", value)
        world.versions_at[USAGE_ACCEPTED.name, partition, offset] = len(world.broker.versions)

    # --- commands ---

    def _open(self, number: int) -> None:
        rng = self._rng
        self._send(
            "open_account", f"open-{number}", ACCOUNTS[number], currency="CNY", plan=PLAN,
            identities=["msisdn-" + phone(number)], opening_balance=f"{rng.randrange(100)}.50", credit_limit="0",
            at=self._world.clock - 200 * DAY_MS,
        )  # fmt: skip

    def _command(self) -> None:
        rng, number = self._rng, len(self.commands)
        account, chance = rng.choice(ACCOUNTS), rng.random()
        if chance < 0.15 and self.commands:
            settled = [command for command in self.commands if command["type"] == "settle_review"]
            again = dict(rng.choice(settled if settled and rng.random() < 0.4 else self.commands))
            again["at"] += 5
            if rng.random() < 0.3 and again["type"] == "top_up":
                again["amount"] = "77"
            elif again["type"] == "settle_review":
                again["command_id"] = f"c{number}"
            self._put(again)
        elif chance < 0.33:
            self._send("top_up", f"c{number}", account, amount=f"{rng.randrange(1, 3)}", reference=f"ref{number % 4}")
        elif chance < 0.39:
            self._send("adjust", f"c{number}", account, amount="-0.75", reason="goodwill")
        elif chance < 0.7:
            self._about_an_event(number)
        elif chance < 0.75:
            partition = rng.randrange(2)
            offset = self._world.broker.append(COMMANDS.name, partition, b"k", b"no command", (), self._world.clock)
            self._world.versions_at[COMMANDS.name, partition, offset] = len(self._world.broker.versions)
        elif self._moves:
            identity = "msisdn-" + phone(rng.randrange(3))
            self._send(rng.choice(("add_identity", "remove_identity")), f"c{number}", account, identity=identity)
        else:
            self._send("top_up", f"c{number}", account, amount="1", reference=f"ref{number}")

    def _about_an_event(self, number: int) -> None:
        """Name an event of the ledger: mostly one that is there and may be named so, or one that may come."""
        rng, world = self._rng, self._world
        partition = rng.randrange(2)
        settles = rng.random() < 0.5
        events = [memory_broker.decode_event(value).event for value in world.ledger_values(partition)[-30:]]
        fitting = [event for event in events if event.kind == ("REVIEW" if settles else "CHARGED") and event.account]
        seq, account = rng.randrange(1, 8), rng.choice(ACCOUNTS)
        if fitting and rng.random() < 0.8:
            event = rng.choice(fitting)
            seq, account = event.seq, event.account
        if settles:
            self._send(
                "settle_review", f"c{number}", account, review=f"{partition}-{seq}", reason="seen",
                decision=rng.choice(("charge", "charge", "discard")),
            )  # fmt: skip
        else:
            amount = rng.choice(("0.05", "0.30", "-0.10", "50"))
            self._send("adjust", f"c{number}", account, amount=amount, reason="r", charge_id=f"{partition}-{seq}")

    def _send(self, kind: str, command_id: str, account: str, **fields: Any) -> None:
        deadly = self._deadly_commands and len(self.commands) > 6
        self._deadly_commands -= deadly
        record = {**_COMMAND_FIELDS, "type": kind, "command_id": command_id, "account": account}
        record["actor"] = "deadly" if deadly else "sim"
        self._put({**record, "at": self._world.clock, **fields})

    def _put(self, command: dict[str, Any]) -> None:
        world = self._world
        world.say("a command is sent: %s", {name: value for name, value in command.items() if value is not None})
        self.commands.append(command)
        partition = partition_of(command["account"], 2)
        if self._rng.random() < 0.02:
            partition = 1 - partition
        offset = world.broker.append(COMMANDS.name, partition, b"k", ACCOUNT_COMMAND.encode(command), (), world.clock)
        world.versions_at[COMMANDS.name, partition, offset] = len(world.broker.versions)
