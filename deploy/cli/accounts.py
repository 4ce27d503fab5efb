# ruff: noqa: D301 - \b keeps the lines of an example as they are
"""`chargeline account`: open, change and look at accounts. Every change is a command that the ledger answers."""

from pathlib import Path
from typing import Annotated, Any

import typer

from deploy.cli.context import DataDir, Json, Timeout, settings_of_servers
from deploy.cli.periods import begin_periods
from deploy.cli.sending import TIMEOUT_S, NoWait, account_command, read_command_files, run_commands
from deploy.cli.talk import RefusedError, data, data_json, misused, next_step, table

app = typer.Typer(help="Open, change and look at accounts.", no_args_is_help=True)

app.command("begin-periods")(begin_periods)

Account = Annotated[str, typer.Argument(metavar="ACCOUNT", show_default=False)]
From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="ISO 8601 with offset. Default: now; never in the past.")
]
Reason = Annotated[str, typer.Option("--reason", help="A sentence why; the ledger keeps it.")]


@app.command("apply")
def apply_commands(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", exists=True, dir_okay=False, show_default=False)],
    no_wait: NoWait = False,
    timeout: Timeout = TIMEOUT_S,
    json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Send commands from files.

    One JSON object a line; nothing is sent if a line is no command.

    \b
    Examples:
      chargeline account apply accounts.jsonl
      chargeline account apply --json *.jsonl | jq -r 'select(.kind == "REJECTED")'
    """
    commands = read_command_files(files)
    settings = settings_of_servers(data_dir)
    raise typer.Exit(run_commands(settings, commands, wait=not no_wait, timeout_s=timeout, json=json))


@account_command(app, "open", "open_account")
def open_account(
    account: Account,  # noqa: ARG001 - every command's own
    plan: Annotated[str, typer.Option("--plan", help="Id of a plan in the catalogue.")],
    identity: Annotated[
        list[str] | None, typer.Option("--identity", metavar="ID", help="msisdn-+86... or imsi-...; again for more.")
    ] = None,
    currency: Annotated[str, typer.Option("--currency", help="ISO 4217.")] = "CNY",
    balance: Annotated[str, typer.Option("--balance", metavar="AMOUNT", help="Opening balance.")] = "0",
    credit_limit: Annotated[str, typer.Option("--credit-limit", metavar="AMOUNT")] = "0",
    plan_from: Annotated[
        str | None, typer.Option("--plan-from", metavar="TIME", help="When the plan begins. Default: now.")
    ] = None,
) -> dict[str, Any]:
    """Open an account.

    \b
    Example:
      chargeline account open alice --plan basic --identity msisdn-+8613800000001 --balance 50
    """
    return {
        "currency": currency,
        "plan": plan,
        "identities": identity or [],
        "opening_balance": balance,
        "credit_limit": credit_limit,
        "plan_from": plan_from,
    }


@account_command(app, "top-up", "top_up")
def top_up(
    account: Account,  # noqa: ARG001
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", show_default=False)],
    reference: Annotated[
        str | None, typer.Option("--reference", help="The payment's own number: booked once for ever.")
    ] = None,
) -> dict[str, Any]:
    """Pay money in.

    \b
    Example:
      chargeline account top-up alice 20.00 --reference pay-20261001-0001
    """
    return {"amount": amount, "reference": reference}


@account_command(app, "adjust", "adjust")
def adjust(
    account: Account,  # noqa: ARG001
    amount: Annotated[
        str, typer.Argument(metavar="AMOUNT", help="Added to the balance; after -- where it is negative.")
    ],
    reason: Reason,
    charge: Annotated[
        str | None, typer.Option("--charge", metavar="CHARGE_ID", help="The charge it returns, all or part of it.")
    ] = None,
) -> dict[str, Any]:
    """Correct a balance, or return a charge.

    \b
    Examples:
      chargeline account adjust alice 0.60 --charge 3-17 --reason "dropped call"
      chargeline account adjust alice --reason "booked twice" -- -5.00
    """
    return {"amount": amount, "reason": reason, "charge_id": charge}


@account_command(app, "change-plan", "change_plan")
def change_plan(
    account: Account,  # noqa: ARG001
    plan: Annotated[str, typer.Argument(metavar="PLAN", show_default=False)],
    from_: From = None,
) -> dict[str, Any]:
    """Give the account another plan.

    \b
    Example:
      chargeline account change-plan alice business --from 2026-12-01T00:00:00+08:00
    """
    return {"plan": plan, "from": from_}


@account_command(app, "add-allowance", "add_allowance")
def add_allowance(
    account: Account,  # noqa: ARG001
    allowance: Annotated[str, typer.Argument(metavar="ALLOWANCE", show_default=False)],
    from_: From = None,
) -> dict[str, Any]:
    """Add a bucket of included use.

    \b
    Example:
      chargeline account add-allowance alice data-pack
    """
    return {"allowance": allowance, "from": from_}


@account_command(app, "begin-period", "begin_period")
def begin_period(
    account: Account,  # noqa: ARG001
    period: Annotated[str, typer.Argument(metavar="YYYY-MM", show_default=False)],
) -> dict[str, Any]:
    """Charge a month's fees, close its bill.

    The month's fees in advance, and what changed of the month before. Each month once: its id is made of the two.

    \b
    Example:
      chargeline account begin-period alice 2026-12
    """
    return {"period": period}


@account_command(app, "set-budget", "set_budget")
def set_budget(
    account: Account,  # noqa: ARG001
    amount: Annotated[str, typer.Argument(metavar="AMOUNT", help="Of a month; 0 for none.")],
    threshold: Annotated[
        list[int] | None, typer.Option("--threshold", metavar="PERCENT", help="Again for more. Default: 50, 80, 100.")
    ] = None,
) -> dict[str, Any]:
    """Set the customer's own monthly budget.

    Alerts are raised as it is used up.

    \b
    Example:
      chargeline account set-budget alice 100 --threshold 50 --threshold 90
    """
    return {"amount": amount, "thresholds": threshold or None}


@account_command(app, "add-identity", "add_identity")
def add_identity(
    account: Account,  # noqa: ARG001
    identity: Annotated[str, typer.Argument(metavar="IDENTITY", show_default=False)],
    from_: From = None,
) -> dict[str, Any]:
    """Bind a number or a SIM to the account.

    \b
    Example:
      chargeline account add-identity alice imsi-460011234567890
    """
    return {"identity": identity, "from": from_}


@account_command(app, "remove-identity", "remove_identity")
def remove_identity(
    account: Account,  # noqa: ARG001
    identity: Annotated[str, typer.Argument(metavar="IDENTITY", show_default=False)],
    from_: From = None,
) -> dict[str, Any]:
    """Release a number or a SIM from the account.

    \b
    Example:
      chargeline account remove-identity alice msisdn-+8613800000001
    """
    return {"identity": identity, "from": from_}


@account_command(app, "settle-review", "settle_review")
def settle_review(
    account: Account,  # noqa: ARG001
    review: Annotated[str, typer.Argument(metavar="REVIEW", help="Its event, like 3-17.")],
    reason: Reason,
    charge: Annotated[bool, typer.Option("--charge/--discard", help="Price the held record now, or let it go.")],
) -> dict[str, Any]:
    """Decide on a record held for review.

    Once only.

    \b
    Example:
      chargeline account settle-review alice 3-17 --charge --reason "late tape from the switch"
    """
    return {"review": review, "decision": "charge" if charge else "discard", "reason": reason}


@account_command(app, "suspend", "suspend")
def suspend(account: Account, reason: Reason) -> dict[str, Any]:  # noqa: ARG001
    """Suspend the account. Use that happens all the same is charged.

    \b
    Example:
      chargeline account suspend alice --reason "SIM reported stolen"
    """
    return {"reason": reason}


@account_command(app, "resume", "resume")
def resume(account: Account, reason: Reason) -> dict[str, Any]:  # noqa: ARG001
    """Resume a suspended account.

    \b
    Example:
      chargeline account resume alice --reason "SIM found"
    """
    return {"reason": reason}


@account_command(app, "close", "close")
def close(account: Account, reason: Reason) -> dict[str, Any]:  # noqa: ARG001
    """Close the account. Use that starts later is rejected.

    \b
    Example:
      chargeline account close alice --reason "moved away"
    """
    return {"reason": reason}


@app.command("show")
def show(account: Account, json: Json = False, data_dir: DataDir = None) -> None:
    """Show an account as it is now.

    Balance, plans, identities, buckets and spend, as the view has them.

    \b
    Examples:
      chargeline account show alice
      chargeline account show alice --json | jq .balance_micros
    """
    from deploy.cli.account_view import account_rows, account_to_json
    from pipeline.adapters.kafka.topics import describe_topics
    from pipeline.adapters.store.redis import RedisStore
    from pipeline.topics import AUDIT, partition_of

    if not account:
        misused("ACCOUNT is empty")
    settings = settings_of_servers(data_dir)
    partition = partition_of(account, describe_topics(settings)[AUDIT.name].partitions)
    fields = RedisStore(settings).account(partition, account)
    if not fields:
        raise RefusedError(f"no account {account!r}", f"next: chargeline account open {account} --plan PLAN")
    if json:
        data_json(account_to_json(account, partition, fields))
        return
    data(f"{account} (ledger partition {partition})")
    table(("", ""), account_rows(fields))
    next_step(f"chargeline bill {account}")
