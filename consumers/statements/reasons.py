# ruff: noqa: RUF001 - full-width punctuation is how Chinese is written
"""A sentence for each reason that the ledger and the dead letters know, by language."""

from collections.abc import Mapping
from typing import Final

from pipeline.domain.outcome import ANSWER_REASONS, DEAD_LETTER_REASONS

_CHINESE: Final = {
    # of a dead letter
    "undecodable": "字节不是任何已知格式的一条完整记录或指令。",
    "unknown_schema": "格式指纹从未发布过。",
    "out_of_bounds": "某个字段过长、过大或过小，超出约定范围。",
    "bad_number": "用户或对方号码不是 E.164 号码、IMSI 或短号码。",
    "no_identity": "既没有 msisdn 也没有 imsi。",
    "starts_in_future": "使用的开始时间晚于消息代理收到记录的时间。",
    "ambiguous": "这些标识在当时对应不止一个账户。",
    "unknown_subscriber": "当时没有账户拥有这些标识。",
    # of a usage record
    "quarantined": "该记录三次使进程中止，未读取即被搁置。",
    "wrong_partition": "该账户属于另一个分区。",
    "unknown_account": "没有这个账户。",
    "late": "使用早于迟到窗口，已无法判断是否重复。",
    "duplicate": "同一记录先前已扣费。",
    "conflicting_copy": "同一 record_id 先前已以不同内容扣费。",
    "not_bound": "使用开始时该账户没有此标识。",
    "after_close": "使用开始于销户之时或之后。",
    "no_plan": "使用开始时该账户在资费目录中没有套餐。",
    "no_tariff": "套餐中没有规则适用于该使用或其中一段。",
    "currency_mismatch": "套餐的货币与账户的货币不同。",
    "too_large": "价格的明细行超过一个事件的容量，或金额超出范围。",
    "fault": "计费核心在该记录上出错；记录已保留待人工处理。",
    # of a command
    "duplicate_command": "同一指令先前已执行。",
    "conflicting_command": "同一 command_id 先前已用于不同内容。",
    "duplicate_reference": "该参考号的充值先前已入账。",
    "conflicting_reference": "该参考号先前已以不同金额入账。",
    "bad_command": "某个字段缺失、未知或超出范围。",
    "unsupported": "此版本不执行这类指令。",
    "account_exists": "账户已经开立。",
    "account_closed": "账户已销户。",
    "unknown_plan": "资费目录中没有此套餐。",
    "unknown_allowance": "资费目录中没有此额度。",
    "identity_bound": "该账户当时已有此标识。",
    "identity_not_bound": "该账户当时没有此标识。",
    "unknown_charge": "该账户没有这笔扣费。",
    "exceeds_charge": "退还的金额将超过该笔扣费。",
    "unknown_review": "该账户没有这条待审记录。",
    "already_settled": "该待审记录先前已处理。",
    "already_charged": "该记录其间已扣费。",
    "too_old": "用于判断当日重复的数据已过期；请改用 adjust。",
    "period_begun": "该月份或更晚的月份先前已开始。",
    "wrong_state": "账户的状态不允许此操作。",
    # of a seal
    "settings_changed": "一项决定金额的设置取了新值。",
    "seal": "至此分区账目的计数与合计。",
    "accepted_loss": "运营人员接受了事件或输入的丢失。",
    # of an event that did what was asked
    "opened": "账户已开立。",
    "identity_added": "标识已绑定到账户。",
    "identity_removed": "标识已从账户解除。",
    "topped_up": "已充值。",
    "adjusted": "余额已更正。",
    "plan_changed": "自给定时间起适用另一套餐。",
    "allowance_added": "已增加一份额度。",
    "budget_set": "客户自己的预算已设定。",
    "suspended": "账户已停机。",
    "resumed": "账户已复机。",
    "closed": "账户已销户。",
    "discarded": "待审记录已处理，不扣费。",
}

REASONS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {**DEAD_LETTER_REASONS, **ANSWER_REASONS},
    "zh": _CHINESE,
}
