"""GPU prices: the cluster file, a CSV, a server, and which of them holds."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from carbon_servers import FakePrices, Fault

from carbonfleet.api import ClusterFacts
from carbonfleet.api.cluster import PriceHours
from carbonfleet.placement.inputs import full_load_kw, hourly_prices
from carbonfleet.signals import Market, PriceKind, Quotes, Reason, TraceError, price_sources, repriced
from carbonfleet.signals.prices.cluster_files import ClusterPrices
from carbonfleet.signals.prices.price_file import PriceFile
from carbonfleet.signals.prices.price_server import PriceServer, PriceServerSettings
from fixtures.kubeapi_server import eventually

ON_DEMAND, SPOT = PriceKind.GPU_ON_DEMAND, PriceKind.GPU_SPOT
POOL = ("oslo", "a100")
NAME = "oslo/a100"


@pytest.fixture
def facts() -> ClusterFacts:
    night = {"fromHour": 22, "toHour": 6, "usdPerGpuHour": 1.5}
    pool = {"name": "a100", "gpuType": "A100", "gpus": 8, "memoryGib": 80, "usdPerGpuHour": 2.5}
    spoke = {"name": "oslo", "region": "norwayeast", "zone": "NO-NO1", "jurisdictions": ["NO"]}
    pools = [{**pool, "spotUsdPerGpuHour": 1.0, "pricesByHour": [night]}, {**pool, "name": "free"}]
    return ClusterFacts.model_validate({**spoke, "pools": pools})


@pytest.fixture
def market(clock):
    opened = []

    def build(*sources) -> Market:
        opened.append(Market(sources, clock))
        return opened[-1]

    yield build
    for each in opened:
        each.close()


@pytest.fixture
def server():
    price = {"cluster": "oslo", "pool": "a100", "kind": "gpu-on-demand", "usdPerGpuHour": 1.9}
    with FakePrices([price]) as server:
        yield server


@pytest.fixture
def listed(server, clock, endpoint) -> PriceServer:
    return PriceServer(PriceServerSettings(endpoint=endpoint(server.url, tries=1)), clock)


def price(market, kind=ON_DEMAND, pool=POOL):
    found = market.quotes([pool]).prices.get((f"{pool[0]}/{pool[1]}", kind))
    return (found.value, found.source) if found else None


def test_of_two_prices_of_one_hour_the_later_holds_as_for_the_planner(market, facts, clock):
    hours = [*facts.pools[0].prices_by_hour, PriceHours(from_hour=2, to_hour=4, usd_per_gpu_hour=0.9)]
    pools = (facts.pools[0].model_copy(update={"prices_by_hour": tuple(hours)}),)
    clock.set(datetime(2025, 12, 15, 3, tzinfo=UTC))
    found = price(market(ClusterPrices([facts.model_copy(update={"pools": pools})])))
    assert found == (hourly_prices(pools[0])[3], "cluster-file") == (0.9, "cluster-file")


@pytest.mark.parametrize(("hour", "usd"), [(21, 2.5), (22, 1.5), (3, 1.5), (6, 2.5)])
def test_a_night_price_runs_over_midnight(market, facts, clock, hour, usd):
    clock.set(datetime(2025, 12, 15, hour, 30, tzinfo=UTC))
    assert price(market(ClusterPrices([facts]))) == (usd, "cluster-file")


def test_spot_has_its_own_price_and_a_pool_without_one_has_none(market, facts):
    quotes = market(ClusterPrices([facts])).quotes([POOL, ("oslo", "free")])
    assert quotes.prices[NAME, SPOT].value == 1.0
    assert ("oslo/free", SPOT) not in quotes.prices
    assert not quotes.problems


def test_a_file_gives_the_price_that_holds_now(market, clock, tmp_path):
    path = tmp_path / "prices.csv"
    path.write_text(
        "datetime_utc,cluster,pool,kind,usd_per_gpu_hour\n"
        "2025-12-15T14:00:00Z,oslo,a100,gpu-on-demand,2.2\n"
        "2025-12-15T10:00:00Z,oslo,a100,gpu-on-demand,2.0\n"
        "2025-12-15T10:00:00Z,oslo,a100,gpu-on-demand,-1\n"
        "2025-12-15T10:00:00Z,oslo,a100,gpu-week,2\n"
        "noon,oslo,a100,gpu-spot,2\n"
        "2025-12-15T10:00:00Z,oslo,a100,gpu-spot,cheap\n"
    )
    source = PriceFile(path)
    assert [rejection.reason for rejection in source.rejected] == [
        Reason.NEGATIVE,
        Reason.WRONG_KIND,
        Reason.BAD_TIME,
        Reason.NOT_A_NUMBER,
    ]
    assert price(market(source)) == (2.0, "price-file")
    clock.forward(hours=3)
    assert price(market(source)) == (2.2, "price-file")


def test_a_file_of_another_form_is_refused_in_words(tmp_path):
    (tmp_path / "prices.csv").write_text("pool,price\n")
    with pytest.raises(TraceError, match="no column cluster, datetime_utc, kind, usd_per_gpu_hour"):
        PriceFile(tmp_path / "prices.csv")


def test_a_server_is_asked_once_per_refresh_for_all_pools(market, listed, server, clock):
    rates = market(listed)
    rates.quotes([POOL, ("oslo", "free"), ("ohio", "h100")])
    assert price(rates) == (1.9, "price-server")
    assert len(server.seen) == 1
    server.prices[0]["usdPerGpuHour"] = 2.1
    clock.forward(minutes=6)
    assert price(rates) == (2.1, "price-server")


def test_a_server_that_fails_leaves_its_last_price_for_an_hour_then_the_file_holds(
    market, listed, server, facts, clock
):
    rates = market(listed, ClusterPrices([facts]))
    assert price(rates) == (1.9, "price-server")
    server.fault = Fault.ERROR
    clock.forward(minutes=50)
    assert price(rates) == (1.9, "price-server")
    clock.forward(minutes=20)
    assert price(rates) == (2.5, "cluster-file")


@pytest.mark.parametrize("value", [None, "1.9", -1, 5000])
def test_a_price_that_cannot_be_is_a_problem_not_a_gift(market, listed, server, value):
    server.prices[0]["usdPerGpuHour"] = value
    quotes = market(listed).quotes([POOL])
    assert quotes.prices == {}
    assert "has no price of oslo/a100" in quotes.problems[NAME, ON_DEMAND]


def test_a_cluster_takes_the_markets_price_for_all_its_hours(market, listed, facts):
    quotes = market(listed, ClusterPrices([facts])).quotes([POOL, ("oslo", "free")])
    pools = {pool.name: pool for pool in repriced(facts, quotes).pools}
    assert (pools["a100"].usd_per_gpu_hour, pools["a100"].prices_by_hour) == (1.9, ())
    assert pools["a100"].spot_usd_per_gpu_hour == 1.0
    assert pools["free"] == facts.pools[1]
    assert quotes.prices[NAME, ON_DEMAND].step <= timedelta(hours=1)


def test_a_cycle_waits_for_the_first_answer_alone(listed, server, clock, facts):
    rates = Market([listed], clock, patience_seconds=0.2)
    server.fault = Fault.HANG
    began = time.monotonic()
    for _ in range(500):
        assert rates.latest([facts]) == Quotes()  # neither a price nor a failure
    assert time.monotonic() - began < 90  # each would have waited for 0.2 s
    server.fault = None
    server.release()
    eventually(lambda: clock.forward(minutes=2) and rates.latest([facts]).prices)
    assert rates.latest([facts]).prices[NAME, ON_DEMAND].value == 1.9
    rates.close()


def test_prices_are_renewed_in_the_background(listed, server, clock, facts):
    rates = Market([listed], clock)
    assert rates.latest([facts]).prices[NAME, ON_DEMAND].value == 1.9
    server.prices[0]["usdPerGpuHour"] = 2.1
    clock.forward(minutes=6)
    eventually(lambda: rates.latest([facts]).prices[NAME, ON_DEMAND].value == 2.1)
    assert len(server.seen) == 2
    rates.close()


def test_a_plan_is_told_whose_price_it_is(market, listed, facts):
    quotes = market(listed, ClusterPrices([facts])).quotes([POOL, ("oslo", "free")])
    assert price_sources(facts, quotes) == {("a100", False): "price-server"}


@pytest.fixture
def own(facts) -> ClusterFacts:
    """GPUs that have no price of their own."""
    (priced, free) = facts.pools
    unpriced = free.model_copy(update={"usd_per_gpu_hour": None, "spot_usd_per_gpu_hour": None, "prices_by_hour": ()})
    return facts.model_copy(update={"pools": (priced, unpriced), "electricity_usd_per_kwh": 0.3})


@pytest.fixture
def power(electricitymaps, clock, maps):
    """The day-ahead market, whose price is ten euros a MWh more each hour of the UTC day."""
    maps.curve = lambda zone, hour: 100.0 + 100 * hour.hour
    market = Market([electricitymaps(tries=1)], clock, patience_seconds=60, usd_per_eur=1.5)
    yield market
    market.close()


def at_night_and_noon(facts, quotes) -> tuple[float | None, float | None]:
    """USD an hour of the GPU without a price, at 02:00 and 12:00 UTC, in shares of what 1 USD/kWh would cost."""
    (pool,) = (pool for pool in repriced(facts, quotes).pools if pool.name == "free")
    kw = full_load_kw(pool, facts)
    prices = hourly_prices(pool, facts.electricity_usd_per_kwh and kw * facts.electricity_usd_per_kwh)
    return tuple(None if price is None else round(price / kw, 9) for price in (prices[2], prices[12]))


def test_gpus_of_ones_own_cost_their_power_at_the_day_ahead_price(power, own):
    quotes = power.latest([own])
    assert at_night_and_noon(own, quotes) == (0.02 * 1.5, 0.12 * 1.5)
    assert price_sources(own, quotes) == {("free", False): "electricitymaps/v3, its power day ahead"}
    assert repriced(own, quotes).pools[0] == own.pools[0]  # a declared price stands


def test_hours_without_an_auction_yet_have_yesterdays_price(power, own, maps, clock):
    power.latest([own])
    maps.curve = lambda zone, hour: 100.0
    maps.auctioned_hours = 24 - clock.now().hour
    clock.forward(hours=2)
    night, _ = at_night_and_noon(own, power.quotes([], [own.zone]))
    assert (night, clock.now().hour) == (0.02 * 1.5, 14)


def test_power_that_one_is_paid_to_take_is_free(power, own, maps):
    maps.curve = lambda zone, hour: 20.0
    assert at_night_and_noon(own, power.latest([own])) == (0.0, 0.0)


def test_without_a_day_ahead_price_the_declared_one_holds(power, own, maps, clock):
    maps.access[own.zone] = ["carbon-intensity/latest"]
    assert at_night_and_noon(own, power.latest([own])) == (0.3, 0.3)
    maps.access.clear()
    clock.forward(minutes=11)
    assert at_night_and_noon(own, power.quotes([], [own.zone])) == (0.3, 0.3)  # the list of zones is read once a day
    clock.forward(hours=25)
    assert at_night_and_noon(own, power.quotes([], [own.zone])) == (0.02 * 1.5, 0.12 * 1.5)
    assert len(maps.seen) == 3


def test_a_day_old_price_is_no_price(power, own, maps, clock):
    power.latest([own])
    maps.fault = Fault.ERROR
    clock.forward(hours=12)
    assert at_night_and_noon(own, power.quotes([], [own.zone])) == (0.02 * 1.5, 0.12 * 1.5)
    clock.forward(hours=36)
    assert at_night_and_noon(own, power.quotes([], [own.zone])) == (0.3, 0.3)


def test_electricity_is_not_asked_for_where_nobody_says_what_a_euro_costs(electricitymaps, clock, maps, own):
    market = Market([electricitymaps()], clock, patience_seconds=60)
    assert market.latest([own]).electricity == {}
    assert maps.seen == []
    market.close()
