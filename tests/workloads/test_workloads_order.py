"""Samples are drawn in an order that the seed decides, grouped by length where that is asked for."""

import random
import statistics

import pytest
from workloads.lora.data import Order

DRAW = random.Random(4)
LENGTHS = tuple(int(DRAW.lognormvariate(4, 1)) + 1 for _ in range(1037))


def epochs(order: Order, number: int) -> list[list[int]]:
    count, size = len(order.lengths), order.samples_per_step
    drawn = [i for step in range(number * count // size + 1) for i in order.of_step(step)]
    return [drawn[count * epoch : count * (epoch + 1)] for epoch in range(number)]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("size", [1, 4, 13, 1037, 1500])
def test_each_epoch_shows_every_sample_once_in_another_order(grouped, size):
    order = Order(LENGTHS, size, seed=3, group_by_length=grouped)
    first, second, third = epochs(order, 3)
    assert sorted(first) == sorted(second) == sorted(third) == list(range(1037))
    assert first != second != third


def test_a_step_may_end_one_epoch_and_begin_the_next():
    five, thirteen = (Order((1,) * 20, size, seed=3) for size in (5, 13))
    assert thirteen.of_step(1) == [i for step in range(6) for i in five.of_step(step)][13:26]


@pytest.mark.parametrize("grouped", [False, True])
def test_the_order_is_that_of_its_seed_wherever_a_run_begins(grouped):
    steps = [Order(LENGTHS, 16, 7, grouped).of_step(step) for step in range(200)]
    again = Order(LENGTHS, 16, 7, grouped)
    assert [again.of_step(step) for step in reversed(range(200))] == steps[::-1]
    assert Order(LENGTHS, 16, 8, grouped).of_step(0) != steps[0]


def padding(order: Order) -> float:
    """The padded part of the tokens of three epochs, each step one batch."""
    steps = [[LENGTHS[i] for i in order.of_step(step)] for step in range(3 * 1037 // order.samples_per_step)]
    return 1 - sum(map(sum, steps)) / sum(max(step) * len(step) for step in steps)


def test_grouping_by_length_leaves_a_third_of_the_padding():
    assert padding(Order(LENGTHS, 16, 3)) > 0.6
    assert padding(Order(LENGTHS, 16, 3, group_by_length=True)) < 0.21


def test_grouped_steps_come_in_no_order_of_length():
    order = Order(LENGTHS, 16, 3, group_by_length=True)
    means = [statistics.mean(LENGTHS[i] for i in order.of_step(step)) for step in range(60)]
    assert abs(statistics.correlation(range(60), means)) < 0.3
