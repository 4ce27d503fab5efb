"""The command line as a whole. Only what shows help is imported here; each command imports what it works with."""

import typer

from deploy.cli import (
    accounts,
    alert_correct,
    alert_delivery,
    alerts,
    auditing,
    bench,
    catalogues,
    configuration,
    dead_letters,
    demo,
    detect_eval,
    detecting,
    doctor,
    ledger,
    operate,
    publishing,
    rating,
    rerate,
    samples,
    statements,
    top,
)

app = typer.Typer(
    name="chargeline",
    help="Real-time charging for telecom operators: usage records in, an itemised, verifiable ledger out.",
    epilog="Begin with: chargeline demo",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command("demo")(demo.demo)
app.command("up")(operate.up)
app.command("down")(operate.down)
app.command("status")(operate.status)
app.command("top")(top.top)
app.command("doctor")(doctor.doctor)
app.add_typer(catalogues.app, name="catalogue")
app.add_typer(accounts.app, name="account")
app.command("publish")(publishing.publish)
app.command("bill")(statements.bill)
app.command("explain")(statements.explain)
app.command("rate")(rating.rate)
app.command("quote")(rating.quote)
app.command("rerate")(rerate.rerate)
app.add_typer(detecting.app, name="detect")
detecting.app.command("eval")(detect_eval.evaluate)
app.add_typer(alerts.app, name="alerts")
alerts.app.command("subscribe")(alert_delivery.subscribe)
alerts.app.command("unsubscribe")(alert_delivery.unsubscribe)
alerts.app.command("subscriptions")(alert_delivery.subscriptions)
alerts.app.command("test")(alert_delivery.fire_test)
alerts.app.command("replay")(alert_delivery.replay)
alerts.app.command("correct")(alert_correct.correct)
app.add_typer(dead_letters.app, name="dlq")
app.add_typer(ledger.audit, name="audit")
app.command("snapshot")(auditing.snapshot)
app.command("rebuild")(ledger.rebuild)
app.add_typer(ledger.ledger, name="ledger")
app.add_typer(operate.topics, name="topics")
app.add_typer(configuration.app, name="config")
app.command("bench")(bench.bench)
app.add_typer(samples.app, name="sample")
app.command("run", hidden=True)(operate.run)
