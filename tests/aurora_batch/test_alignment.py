"""Partitions merged by time: nothing early, nothing stuck, nothing lost."""

from hypothesis import given
from hypothesis import strategies as st

from aurora_batch.alignment import Alignment, Merged
from aurora_batch.schema import Record, Records


def records(partition: int, *times: int, first: int = 0) -> Records:
    """Records of a partition with these timestamps."""
    return Records.of(
        Record(b"", partition=partition, offset=first + i, timestamp_us=t)
        for i, t in enumerate(times)
    )


def times(released: Merged) -> list[int]:
    """Timestamps."""
    return released.in_turn().timestamp_us.tolist()


def test_a_partition_that_is_ahead_waits_for_the_one_behind() -> None:
    """Released up to the time of the partition furthest behind, in the order of time."""
    alignment = Alignment([0, 1])
    alignment.add(0, records(0, 1, 5, 9))
    alignment.add(1, records(1, 2, 4))

    assert times(alignment.release(ended=())) == [1, 2, 4]
    assert (alignment.first_held(0), alignment.held_bytes(0)) == (1, 200)
    alignment.add(1, records(1, 7, first=2))
    assert times(alignment.release(ended=())) == [5, 7]
    assert times(alignment.release(ended={1})) == [9]
    assert not alignment.waiting


def test_a_partition_that_has_said_nothing_is_waited_for_unless_it_ended() -> None:
    """Only who may still bring something holds the others up."""
    alignment = Alignment([0, 1])
    alignment.add(0, records(0, 3))

    assert len(alignment.release(ended={0})) == 0
    assert times(alignment.release(ended={1})) == [3]


def test_of_equal_times_the_lower_partition_comes_first() -> None:
    """More of the same time may follow there; whoever is first of all never waits."""
    alignment = Alignment([0, 1])
    alignment.add(1, records(1, 4, 4))
    alignment.add(0, records(0, 4))

    assert [r.partition for r in alignment.release(ended=()).in_turn()] == [0]
    alignment.add(0, records(0, 4, 5, first=1))
    assert [r.partition for r in alignment.release(ended=()).in_turn()] == [0, 1, 1]


def test_a_timestamp_that_goes_back_swaps_nothing_within_its_partition() -> None:
    """A partition's order is that of its offsets."""
    alignment = Alignment([0, 1])
    alignment.add(0, records(0, 8, 1, 9))
    alignment.add(1, records(1, 2, 10))

    assert times(alignment.release(ended={0, 1})) == [2, 8, 1, 9, 10]


@given(
    st.lists(st.tuples(st.integers(0, 2), st.lists(st.integers(-1, 20), min_size=1), st.booleans()))
)
def test_everything_comes_out_once_and_in_its_partitions_order(
    pieces: list[tuple[int, list[int], bool]],
) -> None:
    """However pieces arrive and whoever ended: offsets of each partition ascend without a gap."""
    alignment = Alignment(range(3))
    count = [0, 0, 0]
    out: list[Record] = []
    for partition, stamps, release in pieces:
        alignment.add(partition, records(partition, *stamps, first=count[partition]))
        count[partition] += len(stamps)
        if release:
            out += alignment.release(ended={partition}).in_turn()
    out += alignment.release(ended=range(3)).in_turn()

    for partition in range(3):
        offsets = [r.offset for r in out if r.partition == partition]
        assert offsets == list(range(count[partition]))
