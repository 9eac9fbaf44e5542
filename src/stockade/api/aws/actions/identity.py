"""STS: who am I."""

from typing import Any

from stockade.api.aws.registry import Asked, action


@action("GetCallerIdentity", sts=True)
async def get_caller_identity(asked: Asked) -> dict[str, Any]:
    account = asked.caller.account.id
    return {"UserId": account, "Account": account, "Arn": f"arn:aws:iam::{account}:root"}
