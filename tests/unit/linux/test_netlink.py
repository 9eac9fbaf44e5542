import struct

from hypothesis import given
from hypothesis import strategies as st

from stockade.linux.netlink import attribute, attributes, text


@given(st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40))))
def test_attributes_are_read_as_they_were_written(pairs: list[tuple[int, bytes]]) -> None:
    assert list(attributes(b"".join(attribute(kind, value) for kind, value in pairs))) == pairs


def test_every_attribute_is_padded_to_four_bytes_and_says_its_own_length() -> None:
    packed = attribute(3, b"abcde")
    assert len(packed) == 12
    assert struct.unpack_from("=HH", packed) == (9, 3)


def test_text_has_its_closing_zero_and_a_number_four_bytes() -> None:
    assert list(attributes(attribute(3, "eth0"))) == [(3, b"eth0\0")]
    assert list(attributes(attribute(4, 1500))) == [(4, struct.pack("=I", 1500))]
    assert text(b"eth0\0") == "eth0"


def test_a_list_is_a_nest() -> None:
    packed = attribute(18, [attribute(1, "veth"), attribute(2, b"x")])
    assert struct.unpack_from("=HH", packed)[1] == 18 | 0x8000
    ((kind, nest),) = attributes(packed)
    assert (kind, list(attributes(nest))) == (18, [(1, b"veth\0"), (2, b"x")])


@given(st.binary(max_size=200))
def test_any_bytes_end(data: bytes) -> None:
    assert len(list(attributes(data))) <= len(data)
