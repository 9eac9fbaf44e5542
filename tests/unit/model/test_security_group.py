"""Names and descriptions: the documented alphabet for VPC groups, printable ASCII for classic ones."""

import pytest

from stockade.model.errors import GroupNameInvalid
from stockade.model.security_group import check_group_text


@pytest.mark.parametrize("classic", [True, False])
@pytest.mark.parametrize("text", ["web", "My group (1)", "a" * 255, "x._-:/()#,@[]+=&;{}!$*"])
def test_ordinary_names_are_kept(text: str, classic: bool) -> None:
    assert check_group_text(text, "GroupName", classic) == text


def test_trailing_spaces_go() -> None:
    assert check_group_text("web  ", "GroupName", classic=False) == "web"


def test_an_apostrophe_is_for_classic_groups_only() -> None:
    assert check_group_text("Mary's Apache group", "GroupDescription", classic=True) == "Mary's Apache group"
    with pytest.raises(GroupNameInvalid):
        check_group_text("Mary's Apache group", "GroupDescription", classic=False)


@pytest.mark.parametrize("classic", [True, False])
@pytest.mark.parametrize("text", ["", "   ", "a" * 256, "käse", "tab\there", "line\n", "sg-mine", "null\0"])
def test_bad_names_are_refused_with_their_field(text: str, classic: bool) -> None:
    with pytest.raises(GroupNameInvalid) as refused:
        check_group_text(text, "GroupName", classic)
    assert (refused.value.field, refused.value.text) == ("GroupName", text)


def test_a_description_may_begin_like_an_id() -> None:
    assert check_group_text("sg-old replaced", "GroupDescription", classic=False) == "sg-old replaced"
