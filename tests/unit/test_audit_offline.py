"""The file that a stranger checks: alone, with one small program that shares nothing with ours."""

import ast
import base64
import gzip
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from audit_ledger import TOPIC_ID, LedgerMaker, sample

import schemas
from consumers.audit import offline
from consumers.audit.export import _schemas, seal_as_json, seal_of_json
from consumers.audit.offline import Wrong, check, fingerprint
from consumers.audit.partition import PartitionAudit
from consumers.audit.register import Register
from consumers.audit.seals import Seals
from consumers.audit.signing import KeyFileError, SealKey, is_signed, public_key
from consumers.audit.store import Seal
from pipeline.adapters.avro import CONTRACTS
from pipeline.domain.seal import Totals

AUDIT = Path(offline.__file__).parent


def sealed_sample() -> LedgerMaker:
    """A ledger with every kind of event, sealed in the middle and near its end."""
    made = sample()
    for n in range(2):
        totals = Totals()
        for event in made.events:
            totals.add(event)
        made.sealed("seal")
        made.change(len(made.events), detail=json.dumps(totals.detail()))
        made.charged(f"more{n}")
    return made


def lines_of(made: LedgerMaker, values: list[bytes] | None = None, seals: tuple[Seal, ...] = ()) -> list[dict]:
    values = made.values() if values is None else values
    head = {"ledger_export": 1, "topic_id": TOPIC_ID, "partitions": [0], "of_partitions": 1, "schemas": _schemas()}
    events = [{"partition": 0, "event": base64.b64encode(value).decode()} for value in values]
    return [head, *events, *map(seal_as_json, seals), {"end": len(values)}]


def written(path: Path, lines: list[dict]) -> str:
    text = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return str(path)


@pytest.fixture
def key(tmp_path) -> SealKey:
    return SealKey.of_file(tmp_path / "auditor" / "key.pem")


def signed(made: LedgerMaker, key: SealKey) -> tuple[Seal, ...]:
    hashes = {event.seq: event_hash for event, (_, event_hash) in zip(made.events, made.encoded(), strict=True)}
    seqs = [event.seq for event in made.events if event.reason == "seal"]
    return tuple(Seal(0, seq, hashes[seq], key.sign(made.genesis, 0, seq, hashes[seq])) for seq in seqs)


@pytest.mark.parametrize("name", ["ledger.jsonl", "ledger.jsonl.gz"])
def test_a_right_ledger_holds(name, tmp_path, key, capsys):
    """Run as a program by itself, from a folder with nothing of ours: it says what it found, and ends with 0."""
    made = sealed_sample()
    written(tmp_path / name, lines_of(made, seals=signed(made, key)))
    (tmp_path / "pub.pem").write_bytes(key.public_pem)
    shutil.copy(AUDIT / "offline.py", tmp_path / "check.py")
    command = [sys.executable, "-I", "check.py", name, "--key", "pub.pem"]
    done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{len(made.events)} events: chain, balances and seals hold" in done.stdout
    assert "signed up to event 14" in done.stdout
    assert "1 accounts hold 14.499000 CNY" in done.stdout


def test_it_imports_nothing_of_ours():
    """The standard library, and `cryptography` for signatures."""
    tree = ast.parse((AUDIT / "offline.py").read_text())
    roots = {
        name.name.partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names
    } | {str(node.module).partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert roots <= {*sys.stdlib_module_names, "cryptography"}


@pytest.mark.parametrize("name", CONTRACTS)
def test_its_fingerprints_are_the_librarys(name):
    """CRC-64-AVRO of the canonical form, worked out a second time, of every published schema."""
    published = [full for full in schemas.names() if full.rpartition(".v")[0] == name]
    assert {fingerprint(schemas.read(full)) for full in published} == CONTRACTS[name].fingerprints


def wrong(tmp_path: Path, lines: list[dict], key=None) -> str:
    with pytest.raises(Wrong) as caught:
        check(written(tmp_path / "bad.jsonl", lines), key, lambda _: None)
    return str(caught.value)


def test_what_is_altered_is_found(tmp_path):
    """One flipped bit anywhere, a removed event, a swapped pair, a cut file, lines added."""
    made = sealed_sample()
    values = made.values()
    for at in range(len(values)):
        for bit in range(0, 8 * len(values[at]), 211):
            altered = bytearray(values[at])
            altered[bit // 8] ^= 1 << bit % 8
            said = wrong(tmp_path, lines_of(made, [*values[:at], bytes(altered), *values[at + 1 :]]))
            assert f"event {at + 1}" in said
    for at in range(len(values) - 1):
        assert "follows" in wrong(tmp_path, lines_of(made, [*values[:at], *values[at + 1 :]]))
        assert "follows" in wrong(
            tmp_path, lines_of(made, [*values[:at], values[at + 1], values[at], *values[at + 2 :]])
        )
    lines = lines_of(made)
    assert "cut" in wrong(tmp_path, lines[:-1])
    assert "events were read" in wrong(tmp_path, [*lines[:5], lines[-1]])
    assert "behind the end" in wrong(tmp_path, [*lines, lines[1]])
    assert "no export" in wrong(tmp_path, lines[1:])


def test_a_chain_tied_anew_from_the_middle(tmp_path):
    """Events with right numbers and right hashes that do not follow the hash before them; another ledger's events."""
    made, other = sealed_sample(), sealed_sample()
    other.change(2, event_id="forged")
    assert "previous_hash" in wrong(tmp_path, lines_of(made, [*made.values()[:2], *other.values()[2:]]))
    lines = lines_of(made)
    lines[0]["topic_id"] = "00" * 16
    assert "event 1" in wrong(tmp_path, lines)


@pytest.mark.parametrize(
    "change",
    [
        {"amount_micros": 1}, {"balance_after_micros": 5}, {"balance_before_micros": 5}, {"account_seq": 9},
        {"lines": ()}, {"account": "other"},
    ],
)  # fmt: skip
def test_books_tied_anew_do_not_balance(tmp_path, change):
    """Who writes the whole ledger anew with other sums is found by the sums, or by the account's own order."""
    made = sealed_sample()
    made.change(2, **change)
    assert "event" in wrong(tmp_path, lines_of(made))


def test_a_seal_tied_anew_lies(tmp_path):
    """A seal over other figures than the events'."""
    made = sealed_sample()
    detail = json.loads(made.events[11].detail)
    made.change(12, detail=json.dumps({**detail, "charged_micros": {"CNY": "1"}}))
    assert "charged_micros" in wrong(tmp_path, lines_of(made))


def test_a_whole_ledger_written_anew_is_found_by_the_signed_seals(tmp_path, key):
    """Chain and sums may be right throughout: the signed hashes are not on it. Nor beyond a tail that was cut."""
    made = sealed_sample()
    seals = signed(made, key)
    (tmp_path / "pub.pem").write_bytes(key.public_pem)
    public = public_key(tmp_path / "pub.pem")
    check(written(tmp_path / "good.jsonl", lines_of(made, seals=seals)), public, lambda _: None)
    forged = sealed_sample()
    forged.change(6, event_id="forged")
    check(written(tmp_path / "forged.jsonl", lines_of(forged)), None, lambda _: None)
    assert "not on the chain" in wrong(tmp_path, lines_of(forged, seals=seals), public)
    assert "not on the chain" in wrong(tmp_path, lines_of(made, made.values()[:13], seals), public)
    other = SealKey.of_file(tmp_path / "other.pem")
    assert "not that key's" in wrong(tmp_path, lines_of(made, seals=signed(made, other)), public)


@pytest.mark.parametrize(
    ("break_it", "seq", "said"),
    [
        (lambda made: made.values()[:13], 13, "is cut"),
        (lambda made: made.values()[:11], 11, "is cut"),
        (lambda made: (made.change(6, event_id="forged"), made.values())[1], 12, "written anew"),
        (lambda made: made.values(), None, None),
    ],
)
def test_verify_holds_the_ledger_against_signed_seals(tmp_path, key, break_it, seq, said):
    """A tail cut off, and a ledger written anew as a whole: nothing else in the ledger shows either."""
    made = sealed_sample()
    seals = Seals(0, {seal.seq: seal.hash for seal in signed(made, key)})
    audit = PartitionAudit(0, 1, made.genesis, Register(), today=None, seals=seals)
    breach = None
    for offset, value in enumerate(break_it(made)):
        breach = breach or audit.take(value, offset)
    breach = breach or audit.close()
    if seq is None:
        assert breach is None
    else:
        assert (breach.seq, breach.invariant) == (seq, "I2")
        assert said in breach.detail


# --- the key ---


def test_the_key_is_made_once_and_only_its_user_reads_it(tmp_path):
    """0600 from the first moment; read again it is the same; one that others may read is refused."""
    path = tmp_path / "auditor" / "key.pem"
    made = SealKey.of_file(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert SealKey.of_file(path).public_pem == made.public_pem
    path.chmod(0o640)
    with pytest.raises(KeyFileError, match="read by others"):
        SealKey.of_file(path)
    path.chmod(0o600)
    path.write_text("rubbish")
    with pytest.raises(KeyFileError, match="no Ed25519"):
        SealKey.of_file(path)
    with pytest.raises(KeyFileError, match="public key"):
        public_key(path)


def test_a_signature_is_of_one_seal_of_one_ledger(tmp_path, key):
    """Another place, hash or ledger is not what was signed."""
    (tmp_path / "pub.pem").write_bytes(key.public_pem)
    public = public_key(tmp_path / "pub.pem")
    genesis, event_hash = b"g" * 32, b"h" * 32
    signature = key.sign(genesis, 1, 5, event_hash)
    assert is_signed(public, genesis, 1, 5, event_hash, signature)
    for other in ((b"x" * 32, 1, 5, event_hash), (genesis, 2, 5, event_hash), (genesis, 1, 6, event_hash),
                  (genesis, 1, 5, b"x" * 32)):  # fmt: skip
        assert not is_signed(public, *other, signature)


def test_a_published_seal_reads_back():
    """What `audit seals --json` prints, `--seals` reads."""
    seal = Seal(3, 17, b"h" * 32, b"s" * 64)
    assert seal_of_json(json.dumps(seal_as_json(seal))) == seal
