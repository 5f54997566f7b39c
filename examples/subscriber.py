#!/usr/bin/env python3
"""A reference subscriber: takes every event once, and accounts for every number.

Events of all gateways of a broker in; on standard output, for each gateway and epoch, how many were delivered, came
again, were lost and why, and which numbers are missing. docs/subscribing.md explains the algorithm;
examples/subscriber is the same in Rust, with the same options, the same state file and the same output.

    python3 -m pip install 'paho-mqtt>=2.1,<3' cryptography     # cryptography only for --key
    python3 examples/subscriber.py --broker localhost:1883 --state account.json

An event is acknowledged to the broker only when the account that has it is on the disk: whoever stops or crashes gets
the rest again, and knows it again. With a key that the gateways trust (examples/sign_command.rs makes one) it asks them
about what is missing, and has sent again what they still hold.
"""

import argparse
import base64
import bisect
import json
import os
import signal
import sys
import time
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

# An account forgets its oldest gap when there are more than this: a few hundred kilobytes at the most.
MOST_RANGES = 10_000
# So many ranges are asked for at a time; those that lie closer than this, as one. So many gaps are shown.
MOST_REPLAYS, CLOSE, MOST_SHOWN = 8, 100, 20
# The account is saved, and then acknowledged, after so many events or so many seconds.
SAVE_AFTER, SAVE_WITHIN = 200, 0.02
# A question that was not answered is put again after so many seconds.
PATIENCE = 10.0
# The broker keeps what comes while we are away for a week, in seconds.
SESSION_EXPIRY = 7 * 86_400


class Ranges:
    """Whole numbers, as sorted, disjoint, inclusive ranges: a month without a gap is one range."""

    def __init__(self, pairs=()):
        self.pairs = []
        for first, last in pairs:
            self.add(int(first), int(last))

    def add(self, first, last):
        """Adds a range; those that touch it become one with it."""
        if last < first:
            return
        low = bisect.bisect_left(self.pairs, first - 1, key=lambda pair: pair[1])
        high = bisect.bisect_right(self.pairs, last + 1, key=lambda pair: pair[0])
        if low < high:
            first, last = min(first, self.pairs[low][0]), max(last, self.pairs[high - 1][1])
        self.pairs[low:high] = [[first, last]]

    def __contains__(self, number):
        at = bisect.bisect_right(self.pairs, number, key=lambda pair: pair[0]) - 1
        return at >= 0 and number <= self.pairs[at][1]

    def __len__(self):
        return sum(last - first + 1 for first, last in self.pairs)

    def minus(self, other):
        """What is in here and not in the other."""
        rest, at = Ranges(), 0
        for first, last in self.pairs:
            while at < len(other.pairs) and other.pairs[at][1] < first:
                at += 1
            here = at
            while here < len(other.pairs) and other.pairs[here][0] <= last:
                rest.add(first, other.pairs[here][0] - 1)
                first = other.pairs[here][1] + 1
                here += 1
            rest.add(first, last)
        return rest

    def within(self, other):
        """What is in both."""
        return self.minus(self.minus(other))

    def bridged(self, gap):
        """The same, with gaps of less than so many numbers filled."""
        bridged = Ranges(self.pairs)
        for (_, last), (first, _) in zip(self.pairs, self.pairs[1:]):
            if first - last <= gap:
                bridged.add(last, first)
        return bridged


class Account:
    """Where the numbers of one gateway and epoch are."""

    def __init__(self, source, epoch, first):
        self.source, self.epoch = source, epoch
        self.first, self.last = first, first - 1  # the span that is accounted for
        self.delivered, self.seen = 0, Ranges()
        self.told = {}  # lost, as the gateway has told: the numbers by the reason
        self.nameless = 0  # lost before they had a number
        self.duplicates = self.replayed = self.forgotten = 0
        # What the gateway has answered last: its ranges by their state, and about which numbers.
        self.answer, self.asked = {}, Ranges()

    def take(self, number, replayed):
        """Whether the event of this number is a new one."""
        if number in self.seen:
            self.duplicates += 1
            return False
        self.seen.add(number, number)
        self.delivered += 1
        self.last = max(self.last, number)
        self.replayed += replayed
        if len(self.seen.pairs) > MOST_RANGES:
            # Memory is bounded: the oldest gap is given up, and counted.
            (lowest, end), (following, _) = self.seen.pairs.pop(0), self.seen.pairs[0]
            gaps = Ranges([[self.first, lowest - 1], [end + 1, following - 1]])
            for told in self.told.values():
                gaps = gaps.minus(told)
            self.forgotten += len(gaps)
            self.first = following
        return True

    def tell(self, why, count, pairs):
        """The gateway says that these are lost."""
        told = self.told.setdefault(why, Ranges())
        for first, last in pairs:
            told.add(int(first), int(last))
            self.last = max(self.last, int(last))
        self.nameless += max(0, count - len(Ranges(pairs)))

    def told_before(self):
        """Takes out what was told of numbers before the beginning."""
        own, before = Ranges([[self.first, 2**64]]), {}
        for why, told in list(self.told.items()):
            before[why], self.told[why] = told.minus(own), told.within(own)
            if not len(self.told[why]):
                del self.told[why]
        return before

    def lost(self):
        """What the gateway has told and we have not: an acknowledgement may have been lost, not the event."""
        told = Ranges(pair for ranges in self.told.values() for pair in ranges.pairs)
        return told.minus(self.seen)

    def missing(self):
        """Neither here nor told: on its way, or to be asked for."""
        return Ranges([[self.first, self.last]]).minus(self.seen).minus(self.lost())

    def state_of(self, state):
        return self.missing().within(self.answer.get(state, Ranges()))

    def unexplained(self):
        """Missing, and the gateway says that it has it no more and did not lose it either."""
        asked = self.missing().within(self.asked)
        for ranges in self.answer.values():
            asked = asked.minus(ranges)
        return asked

    def learn(self, answer):
        """Takes what the gateway has answered to `resync`."""
        first, to, last, states = int(answer["from"]), int(answer["to"]), int(answer["last"]), {}
        for state in ("pending", "held", "set_aside", "told", "untold"):
            states[state] = Ranges(answer[state]["ranges"])
            if answer[state]["cut"]:
                # The list was too long: of what is behind its end nothing is known.
                ends = states[state].pairs[-1:] or [[0, 0]]
                to = min(to, ends[0][1])
        self.first = max(self.first, int(answer["first"]))
        self.last, self.answer, self.asked = max(self.last, last), states, Ranges([[first, to]])

    def summary(self):
        missing = self.missing()
        text = lambda ranges: [[str(first), str(last)] for first, last in ranges.pairs[:MOST_SHOWN]]
        return {
            "source": self.source, "epoch": self.epoch, "first": str(self.first), "last": str(self.last),
            "delivered": self.delivered, "duplicates": self.duplicates, "replayed": self.replayed,
            "told": {why: len(ranges) for why, ranges in sorted(self.told.items())}, "nameless": self.nameless,
            "lost": len(self.lost()), "missing": len(missing), "gaps": text(missing),
            "pending": len(self.state_of("pending")), "held": len(self.state_of("held")),
            "set_aside": len(self.state_of("set_aside")), "untold": len(self.state_of("untold")),
            "unexplained": len(self.unexplained()), "forgotten": self.forgotten,
        }  # fmt: skip

    def kept(self):
        return {
            "source": self.source, "epoch": self.epoch, "first": self.first, "last": self.last,
            "delivered": self.delivered, "seen": self.seen.pairs, "told": {why: ranges.pairs for why, ranges in sorted(self.told.items())},
            "nameless": self.nameless, "duplicates": self.duplicates, "replayed": self.replayed,
            "forgotten": self.forgotten,
        }  # fmt: skip

    @classmethod
    def read(cls, kept):
        account = cls(kept["source"], kept["epoch"], kept["first"])
        account.last, account.seen = kept["last"], Ranges(kept["seen"])
        account.told = {why: Ranges(pairs) for why, pairs in kept["told"].items()}
        for name in ("delivered", "nameless", "duplicates", "replayed", "forgotten"):
            setattr(account, name, kept[name])
        return account


class Book:
    """All accounts, and the file they are in."""

    def __init__(self, path, from_now):
        self.path, self.from_now, self.ignored = path, from_now, 0
        kept = json.loads(path.read_text()) if path.exists() else []
        self.accounts = {(it["source"], it["epoch"]): Account.read(it) for it in kept}

    def account(self, source, epoch, number):
        first = number if self.from_now else 1
        return self.accounts.setdefault((source, epoch), Account(source, epoch, first))

    def newest(self):
        """The account of each gateway's present epoch: only of that one it can be asked."""
        newest = {}
        for account in self.accounts.values():
            if account.epoch >= newest.get(account.source, account).epoch:
                newest[account.source] = account
        return newest

    def event(self, event):
        """Takes an event. This is where a consumer's own work with a new one belongs."""
        number, data = int(event["sequence"]), event["data"]
        account = self.account(event["source"], event["epoch"], number)
        if not account.take(number, event.get("replayed", False)):
            return
        if event["type"] == "io.beacon-gateway.gateway.records_dropped.v1":
            account.tell(data["why"], data["count"], data["ranges"])
            self.hand_down(account)

    def state(self, source, state):
        """The retained state says how far a gateway has counted, so that a gap at the end is seen, too."""
        outbox = state.get("outbox") or {}
        if outbox.get("last_sequence") is not None:
            last = int(outbox["last_sequence"])
            account = self.account(source, outbox["epoch"], last + 1)
            account.first = max(account.first, int(outbox["first_sequence"]))
            account.last = max(account.last, last)
            self.hand_down(account)

    def hand_down(self, account):
        """What is told of numbers before the beginning of an epoch is about the one before."""
        epochs = [epoch for source, epoch in self.accounts if source == account.source and epoch < account.epoch]
        if epochs:
            before = self.accounts[account.source, max(epochs)]
            for why, ranges in account.told_before().items():
                if len(ranges):
                    before.tell(why, len(ranges), ranges.pairs)

    def save(self):
        """On the disk, whole or not at all. A database's commit does the same, with the consumer's work in it."""
        aside = self.path.with_suffix(".new")
        with open(aside, "w") as file:
            json.dump([account.kept() for account in self.accounts.values()], file)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)


class Asker:
    """Signs questions to the gateways: docs/commands.md."""

    def __init__(self, key_file, key_id):
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        seed = bytes.fromhex(Path(key_file).read_text().strip())
        self.key, self.id, self.number = Ed25519PrivateKey.from_private_bytes(seed), key_id, 0

    def sign(self, audience, command, body):
        now = time.time()
        # The numbers of commands to one gateway only need to grow: the time in milliseconds does.
        self.number = max(self.number + 1, int(now * 1000))
        claims = {"aud": audience, "iat": int(now), "exp": int(now) + 3600, "num": self.number, "cmd": command, "body": body}
        part = lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=")
        message = b".".join(part(json.dumps(it).encode()) for it in ({"alg": "EdDSA", "kid": self.id}, claims))
        return message + b"." + part(self.key.sign(message))


class Subscriber:
    def __init__(self, options):
        self.options, self.book = options, Book(options.state, options.from_now)
        self.asker = Asker(options.key, options.key_id) if options.key else None
        self.unacknowledged, self.since, self.asked, self.missed = [], 0.0, {}, {}
        protocol = mqtt.MQTTv5 if options.protocol == "5" else mqtt.MQTTv311
        persistent = {} if options.protocol == "5" else {"clean_session": False}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, options.client_id, protocol=protocol, manual_ack=True, **persistent
        )
        self.client.on_connect, self.client.on_message = self.connected, self.message
        self.client.on_disconnect = self.disconnected
        self.stopping = False

    def connect(self):
        host, _, port = self.options.broker.rpartition(":")
        if self.options.protocol == "5":
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = SESSION_EXPIRY
            self.client.connect(host, int(port), clean_start=False, properties=properties)
        else:
            self.client.connect(host, int(port))

    def connected(self, client, _userdata, _flags, reason, _properties):
        if reason.is_failure:
            print(f"the broker refuses: {reason}", file=sys.stderr)
            return
        # Each time: the broker may have lost the session.
        topics = ("event/#", "state", "command-result/+")
        client.subscribe([(f"beacon/v1/{self.options.gateways}/{topic}", 1) for topic in topics])

    def disconnected(self, *_):
        # What was not acknowledged on this connection comes again on the next one.
        self.unacknowledged.clear()

    def message(self, _client, _userdata, message):
        try:
            prefix, version, tenant, store, gateway, kind, *rest = message.topic.split("/")
            source, document = f"/{tenant}/{store}/{gateway}", json.loads(message.payload)
            if kind == "event":
                self.book.event(document)
            elif kind == "state":
                self.book.state(source, document)
            elif kind == "command-result" and rest == ["resync"]:
                self.answered(source, document)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            # One that cannot be read must not stop those behind it.
            self.book.ignored += 1
            print(f"not understood, on {message.topic}: {error!r}", file=sys.stderr)
        if message.qos > 0:
            self.since = self.since if self.unacknowledged else time.monotonic()
            self.unacknowledged.append(message)

    def save(self):
        if not self.unacknowledged:
            return
        self.book.save()
        for message in self.unacknowledged:
            self.client.ack(message.mid, message.qos)
        self.unacknowledged.clear()

    def ask(self, source, command, body):
        topic = f"beacon/v1{source}/command/{command}"
        self.client.publish(topic, self.asker.sign(source[1:], command, body), qos=1)

    def ask_about_gaps(self):
        for source, account in self.book.newest().items():
            # What was not missing when it was last looked may just be on its way; and while what was missing for longer
            # is coming in, there is nothing to ask.
            before, long = self.missed.get(source, (Ranges(), Ranges()))
            missing, now = account.missing(), time.monotonic()
            still = missing.within(before)
            self.missed[source] = missing, still
            if len(long.minus(missing)):
                continue
            missing = still.pairs
            if missing and now - self.asked.get(source, -PATIENCE) >= PATIENCE:
                self.asked[source] = now
                self.ask(source, "resync", {"from": str(missing[0][0]), "to": str(missing[-1][1])})

    def answered(self, source, answer):
        self.asked.pop(source, None)
        if answer["outcome"] != "done" or "again" in answer:
            return  # Refused, or told before: another question may be asked when the time has come.
        account = self.book.account(source, answer["epoch"], int(answer["last"]) + 1)
        account.learn(answer)
        self.book.hand_down(account)
        if self.asker is None:
            return
        for first, last in account.state_of("held").bridged(CLOSE).pairs[:MOST_REPLAYS]:
            body = {"epoch": account.epoch, "from": str(first), "to": str(last)}
            self.ask(source, "replay", body)
            # Time for them to come, before it is asked again.
            self.asked[source] = time.monotonic() - PATIENCE + self.options.ask_every

    def show(self):
        summaries = [account.summary() for _, account in sorted(self.book.accounts.items())]
        if self.options.json:
            print(json.dumps({"ignored": self.book.ignored, "accounts": summaries}), flush=True)
            return
        for it in summaries:
            told = ", ".join(f"{count} {why}" for why, count in it["told"].items())
            print(
                f"{it['source']} epoch {it['epoch']}: {it['first']} to {it['last']}, {it['delivered']} delivered, "
                f"{it['duplicates']} duplicates, {it['replayed']} replayed, {it['lost']} lost ({told or 'none told'}), "
                f"{it['missing']} missing, {it['unexplained']} unexplained",
                flush=True,
            )

    def run(self):
        shown = asked = time.monotonic()
        online = False
        while not self.stopping:
            if online:
                online = self.client.loop(SAVE_WITHIN) == mqtt.MQTT_ERR_SUCCESS
            else:
                try:
                    self.connect()
                    online = True
                except OSError:
                    time.sleep(self.options.retry)
            now = time.monotonic()
            if len(self.unacknowledged) >= SAVE_AFTER or now - self.since >= SAVE_WITHIN:
                self.save()
            if self.asker and online and now - asked >= self.options.ask_every:
                asked = now
                self.ask_about_gaps()
            if now - shown >= self.options.show_every:
                shown = now
                self.show()
        self.save()
        self.client.disconnect()
        self.show()


def main():
    parser = argparse.ArgumentParser(description="Takes every event once, and accounts for every number.")
    parser.add_argument("--broker", default="localhost:1883", help="host:port")
    parser.add_argument("--gateways", default="+/+/+", help="which: tenant/store/gateway, each may be `+`")
    parser.add_argument("--protocol", choices=["5", "3.1.1"], default="5")
    parser.add_argument("--client-id", default="subscriber-py", help="fixed and unique: the broker's session hangs on it")
    parser.add_argument("--state", type=Path, required=True, help="the file that keeps the account")
    parser.add_argument("--from-now", action="store_true", help="numbers before the first one heard are not missed")
    parser.add_argument("--json", action="store_true", help="one JSON document a line")
    parser.add_argument("--show-every", type=float, default=10.0, help="seconds")
    parser.add_argument("--retry", type=float, default=1.0, help="seconds between attempts to connect")
    parser.add_argument("--key", help="the private key: ask gateways about what is missing, and for it")
    parser.add_argument("--key-id", default="platform", help="its name in the gateways' `trusted_keys`")
    parser.add_argument("--ask-every", type=float, default=30.0, help="seconds")
    subscriber = Subscriber(parser.parse_args())

    def stop(*_):
        subscriber.stopping = True

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    subscriber.run()


if __name__ == "__main__":
    main()
