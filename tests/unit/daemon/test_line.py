"""The line between agent and control process."""

from stockade.daemon.line import Line, make_line


async def test_messages_arrive_whole_and_in_order() -> None:
    ours, theirs = (Line(end) for end in make_line())
    for number in range(5):
        assert ours.send(number=number, text="x" * 1000)
    assert [(await theirs.receive() or {})["number"] for _ in range(5)] == [0, 1, 2, 3, 4]
    ours.close()
    theirs.close()


async def test_the_end_of_the_other_side_is_heard() -> None:
    ours, theirs = (Line(end) for end in make_line())
    theirs.close()
    assert await ours.receive() is None
    assert not ours.send(anything=1)
    ours.close()


def test_the_first_message_is_waited_for() -> None:
    ours, theirs = (Line(end) for end in make_line())
    ours.send(settings={})
    assert theirs.receive_first() == {"settings": {}}
    ours.close()
    theirs.close()
