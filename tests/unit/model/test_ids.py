"""The shape of identifiers, both lengths, and how new ones are made."""

import pytest

from stockade.model.errors import IdMalformed
from stockade.model.ids import CLASSIC_DIGITS, VPC_DIGITS, check_id, mint


def ones(count: int) -> str:
    return "1" * count


@pytest.mark.parametrize("digits", [CLASSIC_DIGITS, VPC_DIGITS])
def test_a_minted_id_is_well_formed_and_names_its_cell(digits: int) -> None:
    made = mint("sg", digits, ones)
    assert check_id(made, "sg") == made
    assert made.startswith("sg-01")
    assert len(made) == len("sg-") + digits


@pytest.mark.parametrize(
    "text", ["", "sg", "sg-", "sg-0123456", "sg-012345678", "sg-0123456G", "sg-0123456A", "i-01234567", " sg-01234567"]
)
def test_what_is_not_an_id_is_refused_by_name(text: str) -> None:
    with pytest.raises(IdMalformed) as refused:
        check_id(text, "sg")
    assert (refused.value.kind, refused.value.text) == ("sg", text)


def test_a_line_end_is_not_part_of_an_id() -> None:
    with pytest.raises(IdMalformed):
        check_id("sg-01234567\n", "sg")
