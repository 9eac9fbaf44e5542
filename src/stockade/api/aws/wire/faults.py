"""What can be wrong with a request on the wire, and the document that says so."""

from dataclasses import dataclass, field

from stockade.api.aws.wire.xml import text_of


@dataclass(eq=False)
class Fault(Exception):
    """An error as AWS's clients know it. `code` is without the Client. or Server. of SOAP."""

    code: str
    message: str
    status: int = field(default=400)


def ec2_error_document(fault: Fault, request_id: str) -> str:
    """EC2's form: no namespace, RequestID with a capital D, in every version."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Response><Errors><Error><Code>{fault.code}</Code><Message>{text_of(fault.message)}</Message></Error></Errors>"
        f"<RequestID>{request_id}</RequestID></Response>"
    )


def sts_error_document(fault: Fault, request_id: str, namespace: str) -> str:
    """The form of STS and the other query services."""
    kind = "Receiver" if fault.status >= 500 else "Sender"
    return (
        f'<ErrorResponse xmlns="{namespace}"><Error><Type>{kind}</Type><Code>{fault.code}</Code>'
        f"<Message>{text_of(fault.message)}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    )
