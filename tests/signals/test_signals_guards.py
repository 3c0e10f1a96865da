"""Each trap of the providers has a guard, and a test that fails when the guard is taken away.

The whole table runs with `-m soak`: every guard is removed from a copy of the package, and the test that is
named beside it must then fail. The test's name says what the trap is.
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

import carbonfleet

HERE = Path(__file__).parent
PACKAGE = Path(carbonfleet.__path__[0])
SECONDS = 25
"""A test that waits for what never comes is a failed one."""


@dataclass(frozen=True)
class Guard:
    """A place in the source, what it is without its guard, and the test that notices."""

    file: str
    guarded: str
    bare: str
    test: str

    @property
    def tests(self) -> Path:
        """The file in which the test is."""
        name = self.test.split("::")[0]
        return HERE.parent / name.split("_")[1] / f"{name}.py"


MAPS, WEB, SCREEN = "signals/sources/electricitymaps.py", "http/client.py", "signals/validation.py"
CHAIN, WATT = "forecast/fallback.py", "signals/sources/watttime.py"
EM, TRAPS = "test_signals_electricitymaps", "test_signals_traps"
FIRST = "test_signals_first_day"
SERVICE, WT = "test_signals_service", "test_signals_watttime"
REFUSED = f"{TRAPS}::test_a_value_that_no_grid_has_is_refused_with_its_reason"
WRONG_TIME = f"{TRAPS}::test_a_time_that_cannot_be_is_refused"
FAILURE = f"{EM}::test_each_failure_has_its_own_error"
ORDER = f"{TRAPS}::test_values_are_put_in_order_and_of_an_hour_twice_the_higher_counts"

GENERATION, GEN = "signals/sources/generation", "test_signals_generation"
KEY_HIDDEN = f"{GEN}::test_a_key_in_the_query_stands_in_no_message_and_no_log"

GUARDS = {
    # 1: what the plan includes, and how far it reaches
    "forecast cut to 24 h": Guard(
        CHAIN,
        "return issued if own is None else _carried_on(_blended(issued, own, span, limits), own.forecast, span)",
        "return issued",
        f"{SERVICE}::test_a_short_forecast_is_continued_on_the_profile_and_says_so",
    ),
    "endpoint not licensed": Guard(
        MAPS,
        "allowed = next((path for path in paths if path in (entry.access or ())), None)",
        "allowed = paths[0]",
        f"{EM}::test_a_feed_outside_the_plan_is_not_asked_for",
    ),
    "refusal for good, asked again": Guard(
        "signals/poller.py",
        "self._refusals[key] = (now + span, refusal)",
        "pass",
        f"{SERVICE}::test_a_refusal_is_remembered_for_a_day",
    ),
    # 2: the wrong zone
    "zone guessed by IP address": Guard(
        MAPS,
        ', "disableCallerLookup": "true"}',
        "}",
        f"{EM}::test_every_request_disables_the_lookup_by_address",
    ),
    "answer of another zone": Guard(
        MAPS, "if series.zone != ask.zone:", "if False:", f"{EM}::test_an_answer_for_another_zone_is_refused"
    ),
    "item of another zone": Guard(
        MAPS,
        "if item.zone is not None and item.zone != ask.zone:",
        "if False:",
        f"{EM}::test_items_of_another_zone_are_refused",
    ),
    "zone that does not exist": Guard(
        MAPS,
        "entry = catalogue.get(zone)",
        "entry = catalogue.get(zone, _Zone())",
        f"{EM}::test_an_unknown_zone_is_refused_before_it_is_asked_for",
    ),
    "SDK's answer of another location": Guard(
        "signals/sources/carbonawaresdk.py",
        "if item.location == location]",
        "]",
        "test_signals_carbonawaresdk::test_another_location_is_not_believed",
    ),
    "rate limit as a refused key": Guard(
        WEB,
        "answer.status in {401, 403} and said",
        "answer.status == 403 and said",
        f"{EM}::test_a_rate_limit_or_a_gateway_does_not_read_as_a_refused_key",
    ),
    "one refusal of what was answered before": Guard(
        "signals/poller.py",
        "if key in self._answered and self._refused[key] < _REFUSALS_BELIEVED:",
        "if False:",
        f"{SERVICE}::test_what_was_answered_before_is_asked_again_after_one_refusal_and_the_zone_goes_on",
    ),
    # 3: failures
    "401 that is about the zone": Guard(
        MAPS, "about_zone = any(words in said.lower()", "about_zone = any(False and words", FAILURE
    ),
    "429 and no pause": Guard(
        "http/rate_limit.py",
        "self._held_until = max(until, self._held_until or until)",
        "pass",
        f"{EM}::test_the_wait_that_the_server_names_is_kept",
    ),
    "Retry-After not heeded": Guard(
        WEB,
        "self._limiter.throttled(_kind(method), _wanted_wait_seconds(response))",
        "self._limiter.throttled(_kind(method), None)",
        f"{EM}::test_the_wait_that_the_server_names_is_kept",
    ),
    "500 with text": Guard(WEB, "if response.status_code not in _READABLE:", "if False:", FAILURE),
    "200 with HTML": Guard(
        WEB,
        '            if status == 200 and (method == "GET" or raw):',
        "            if False:",
        FAILURE,
    ),
    "200 with {}": Guard(
        MAPS,
        '        raise MistrustedError("Electricity Maps answered in a form',
        '        return _Series(zone="NO-NO1", data=())\n        raise MistrustedError("Electricity Maps in a form',
        FAILURE,
    ),
    "no answer": Guard(
        WEB,
        "timeout=(self._endpoint.connect_seconds, self._endpoint.read_seconds)",
        "timeout=None",
        FAILURE,
    ),
    "answer that never ends": Guard(WEB, "or time.monotonic() > end:", "or False:", FAILURE),
    "redirect with the key": Guard(
        WEB, "allow_redirects=False", "allow_redirects=True", f"{EM}::test_a_redirect_does_not_carry_the_key_elsewhere"
    ),
    "key quoted in an answer": Guard(
        WEB,
        'raw = raw.replace(secret.encode(), b"***")',
        "pass",
        f"{EM}::test_the_token_is_in_no_message_and_no_log",
    ),
    "dead server hammered": Guard(
        "http/rate_limit.py",
        "if self._failures >= _FAILURES_TO_OPEN:",
        "if False:",
        f"{EM}::test_a_server_that_keeps_failing_is_left_alone_then_tried_once",
    ),
    # 4: values
    "null": Guard(SCREEN, "    if value is None:\n        return", "    if False:\n        return", REFUSED),
    "null as zero": Guard(
        MAPS,
        "return Point(item.datetime, item.carbon_intensity, item",
        "return Point(item.datetime, item.carbon_intensity or 0, item",
        f"{TRAPS}::test_a_null_is_missing_and_never_zero",
    ),
    "long gap bridged": Guard(
        CHAIN,
        "known = known[: wide[0] + 1] if wide.size else known",
        "pass",
        f"{TRAPS}::test_a_null_in_a_forecast_is_bridged_and_a_long_gap_ends_it",
    ),
    "hour twice": Guard(SCREEN, "if known is None or reading.value > known.value:", "if True:", ORDER),
    "hours out of order": Guard(SCREEN, "for start in sorted(kept))", "for start in kept)", ORDER),
    "a time of another age": Guard(
        SCREEN,
        "if start < min(frame.ask.start, frame.fetched_at) - FARTHEST_BACK:",
        "if False:",
        f"{TRAPS}::test_times_of_another_age_are_refused_alone_in_every_feed",
    ),
    "0 g and 2 g": Guard(
        SCREEN,
        "if kind is SignalKind.AVERAGE_LIFECYCLE and value < LOWEST_LIFECYCLE_GRAMS_PER_KWH:",
        "if False:",
        REFUSED,
    ),
    "clean in a fossil zone": Guard(
        "signals/zone.py",
        "batch, is_doubted = self._screened(batch, now)",
        "is_doubted = False",
        f"{TRAPS}::test_a_direct_zero_in_a_fossil_zone_is_not_clean",
    ),
    "forecast unlike its zone": Guard(
        "signals/validation.py",
        "mostly = 2 * len(low) > len(batch.readings)",
        "mostly = False",
        f"{TRAPS}::test_an_answer_that_is_mostly_unlike_its_zone_is_left_alone",
    ),
    "9e6": Guard(SCREEN, "if value > highest:", "if False:", REFUSED),
    "negative": Guard(SCREEN, "if value < 0:", "if False:", REFUSED),
    "NaN": Guard(SCREEN, "if not math.isfinite(value):", "if False:", REFUSED),
    "NaN as text": Guard(
        SCREEN, "if isinstance(value, bool) or not isinstance(value, int | float):", "if False:", REFUSED
    ),
    "hour to come": Guard(
        SCREEN,
        "if frame.ask.feed is not Feed.FORECAST and start > frame.fetched_at + FUTURE_TOLERANCE:",
        "if False:",
        WRONG_TIME,
    ),
    "hour dated by its end": Guard(
        SCREEN,
        "frame.fetched_at + FUTURE_TOLERANCE",
        "frame.fetched_at",
        f"{TRAPS}::test_an_hour_dated_by_its_end_is_not_the_future",
    ),
    "stale forecast": Guard(
        CHAIN,
        "if issue.issued_at < oldest:",
        "if False:",
        f"{SERVICE}::test_a_stale_forecast_counts_as_cached_and_an_old_one_not_at_all",
    ),
    "stale measurement under a profile": Guard(
        CHAIN,
        "if span.now - shape.observed_at > limits.profile:",
        "if False:",
        f"{TRAPS}::test_stale_measurements_are_not_the_present",
    ),
    "stale last value": Guard(
        CHAIN,
        "if span.now - measured.newest_hour > limits.last:",
        "if False:",
        f"{SERVICE}::test_without_enough_history_the_last_value_holds_with_growing_doubt",
    ),
    "estimate taken for settled": Guard(
        MAPS, "item.is_estimated in (None, False)", "True", f"{EM}::test_estimates_are_marked_and_settled_values_too"
    ),
    "estimate over the settled value": Guard(
        "signals/store.py",
        "reading.settled, reading.fetched_at",
        "reading.fetched_at, reading.settled",
        "test_signals_store::test_an_estimate_that_comes_late_does_not_displace_the_settled_value",
    ),
    "settled before the grid has": Guard(
        "ledger/emissions/settlement.py",
        " or now < entry.end + FINAL_AFTER",
        "",
        "test_ledger_settlement::test_nothing_is_settled_before_two_days_or_on_estimates",
    ),
    "settled on estimates": Guard(
        "ledger/emissions/settlement.py",
        "if held is None or not held.settled:",
        "if held is None:",
        "test_ledger_settlement::test_nothing_is_settled_before_two_days_or_on_estimates",
    ),
    "direct beside lifecycle": Guard(
        MAPS,
        "if item.emission_factor_type not in (None, _FACTOR_TYPES[ask.kind]):",
        "if False:",
        f"{EM}::test_direct_factors_are_asked_for_and_lifecycle_ones_refused",
    ),
    "lifecycle forecast for a direct history": Guard(
        MAPS,
        "return not (feed is Feed.FORECAST and kind is SignalKind.AVERAGE_DIRECT)",
        "return True",
        f"{TRAPS}::test_kinds_never_mix",
    ),
    "SDK's -1 for null": Guard(
        "signals/sources/carbonawaresdk.py",
        "None if value == _NULL else value,",
        "abs(value * 50),",
        "test_signals_carbonawaresdk::test_minus_one_stands_for_null_and_is_refused",
    ),
    "one value suddenly clean": Guard(
        SCREEN,
        "doubted = {each for each in low if not _is_near(each, others) or _never(each, lowest)}",
        "doubted = set()",
        f"{FIRST}::test_no_start_comes_of_a_single_value",
    ),
    "flat forecast below all that was": Guard(
        SCREEN,
        "refused = set(batch.readings) if is_other else beyond",
        "refused = set()",
        f"{FIRST}::test_a_flat_forecast_that_contradicts_all_that_is_known_is_dropped",
    ),
    "forecast without a time of issue": Guard(
        SCREEN,
        "moment > first - FARTHEST_BACK else first)",
        "moment > first - FARTHEST_BACK else now)",
        f"{EM}::test_a_forecast_that_does_not_say_when_it_was_made_is_as_old_as_its_first_hour",
    ),
    "all places alike without data": Guard(
        CHAIN,
        'return _level(known, span, known.annual, "annual") or',
        'return _level(known, span, None, "annual") or',
        "test_signals_weeks::test_the_fixed_local_hour_chooses_when_and_the_annual_mean_where",
    ),
    "the full hour's sample": Guard(
        "signals/series.py",
        "if len(entries) >= least_known * (slot // self.step):",
        "if entries:",
        "test_signals_trace::test_finer_values_are_averaged_and_an_hour_that_is_mostly_unknown_is_none",
    ),
    "local time as UTC": Guard(
        "signals/series.py",
        'if moment is not None and "utc" not in column:',
        "if False:",
        "test_simulator_trace::test_local_times_without_an_offset_are_refused_with_the_column",
    ),
    # 5: how often
    "request for each job": Guard(
        "signals/zone.py",
        "if self._pending is not None or (self._due is not None and span.now < self._due):",
        "if self._pending is not None:",
        f"{SERVICE}::test_ten_thousand_jobs_cost_one_request_per_zone_and_refresh",
    ),
    "above the plan's rate": Guard(
        "http/rate_limit.py", "if self._tokens < 1:", "if False:", f"{EM}::test_our_own_limit_holds_requests_back"
    ),
    "ETag not sent": Guard(
        WEB,
        'return {"If-None-Match": known[0]} if known and method == "GET" else {}',
        "return {}",
        f"{EM}::test_an_unchanged_answer_is_not_sent_again",
    ),
    # 6: WattTime
    "pounds for grams": Guard(
        WATT,
        "timedelta(seconds=_STEP_SECONDS), now, GRAMS_PER_KWH)",
        "timedelta(seconds=_STEP_SECONDS), now)",
        f"{WT}::test_pounds_per_megawatt_hour_become_grams_per_kilowatt_hour",
    ),
    "other units or region": Guard(
        WATT, "if found != wanted:", "if False:", f"{WT}::test_other_units_and_other_regions_are_not_believed"
    ),
    "horizon misspelt, a day comes": Guard(
        WATT, '{"horizon_hours":', '{"horizonHours":', f"{WT}::test_the_whole_horizon_comes_not_a_day_of_it"
    ),
    "inclusive end": Guard(
        WATT,
        "last = end - timedelta(seconds=_STEP_SECONDS)",
        "last = end",
        f"{WT}::test_their_inclusive_end_gives_no_value_too_many",
    ),
    "login for each thread": Guard(
        WATT,
        "if self._token and self._token != expired:",
        "if False:",
        f"{WT}::test_many_threads_share_one_login",
    ),
    "expired token": Guard(
        WATT, "if answer.status != 401:", "if True:", f"{WT}::test_an_expired_token_leads_to_one_login"
    ),
    "region outside the plan": Guard(
        WATT, "if answer.status == 403:", "if False:", f"{WT}::test_a_region_outside_the_plan_is_refused"
    ),
    # 7: Great Britain
    "times with seconds": Guard(
        "signals/sources/ukcarbon.py",
        '"%Y-%m-%dT%H:%MZ"',
        '"%Y-%m-%dT%H:%M:%SZ"',
        "test_signals_ukcarbon::test_the_forecast_begins_with_the_half_hour_that_holds_now",
    ),
    "slot before the asked one": Guard(
        "signals/sources/ukcarbon.py",
        "if start is None or start > first:",
        "if True:",
        "test_signals_ukcarbon::test_the_slot_before_the_asked_one_is_left_out",
    ),
    "actual: null": Guard(
        "signals/sources/ukcarbon.py",
        "else values.actual)",
        "else values.actual or values.forecast)",
        "test_signals_ukcarbon::test_measured_values_end_where_actual_is_null",
    ),
    "direct values as lifecycle": Guard(
        "signals/sources/ukcarbon.py",
        "kind is SignalKind.AVERAGE_DIRECT and",
        "",
        "test_signals_ukcarbon::test_great_britain_is_offered_direct_and_measured_with_its_lifecycle",
    ),
    # 8: the clock
    "offset dropped": Guard(
        SCREEN,
        "return moment.astimezone(UTC) if moment.tzinfo else None",
        "return moment.replace(tzinfo=UTC) if moment.tzinfo else None",
        f"{TRAPS}::test_a_time_of_another_zone_is_the_same_moment",
    ),
    "time without a zone": Guard(
        SCREEN, "moment.astimezone(UTC) if moment.tzinfo else None", "moment.astimezone(UTC)", WRONG_TIME
    ),
    "time of update as time of value": Guard(
        SCREEN,
        "if start.timestamp() % frame.step.total_seconds():",
        "if False:",
        "test_signals_carbonawaresdk::test_times_of_update_are_not_taken_for_times_of_value",
    ),
    # 9: generation by fuel
    "a mix without its coal": Guard(
        f"{GENERATION}/mix.py",
        "whole = known[matters].all(axis=0) & (total > 0)",
        "whole = total > 0",
        "test_signals_mix::test_an_hour_without_a_fuel_that_matters_is_unknown_rather_than_clean",
    ),
    "zeros for reports to come": Guard(
        f"{GENERATION}/mix.py",
        "whole &= total >= LEAST_OUTPUT * np.median(total[whole])",
        "pass",
        "test_signals_mix::test_an_hour_far_below_the_usual_output_lacks_plants",
    ),
    "fuel late for days": Guard(
        f"{GENERATION}/provider.py",
        "min(ask.start, end - CONTEXT)",
        "ask.start",
        f"{GEN}::test_a_fuel_that_is_days_late_is_missed_though_the_asked_day_never_shows_it",
    ),
    "doubts lost over a restart": Guard(
        "signals/zone.py",
        "self._archive.doubt(new)",
        "pass",
        "test_signals_first_day::test_a_restart_believes_no_single_value_and_delays_no_true_fall",
    ),
    "an odd hour of the past": Guard(
        "signals/service.py",
        "believed, _ = beside_zone(batch, history.known())",
        "believed = batch",
        "test_signals_first_day::test_a_single_odd_hour_of_the_past_is_not_read_again",
    ),
    "a fuel that is gone from an answer": Guard(
        f"{GENERATION}/provider.py",
        "if name in before and each.newest > now - REMEMBERED",
        "if False",
        "test_signals_odd_mixes::test_a_series_that_is_gone_is_missed_for_two_days_if_it_matters",
    ),
    "half of a fuel": Guard(
        f"{GENERATION}/provider.py",
        "series = self.values.setdefault(name, {})",
        "series = self.values.setdefault(fuel.value, {})",
        f"{GEN}::test_a_part_of_a_fuel_that_is_still_to_come_leaves_the_slot_unknown",
    ),
    "hour named by its end": Guard(
        f"{GENERATION}/eia930.py",
        "return end - HOUR if",
        "return end if",
        f"{GEN}::test_every_slot_has_the_intensity_of_its_own_mix",
    ),
    "pumping counted as generation": Guard(
        f"{GENERATION}/energycharts.py",
        '"Hydro pumped storage": None',
        '"Hydro pumped storage": Fuel.HYDRO',
        f"{GEN}::test_every_slot_has_the_intensity_of_its_own_mix",
    ),
    "repeated points left out": Guard(
        f"{GENERATION}/entsoe.py",
        "held if repeats else None",
        "None",
        f"{GEN}::test_every_slot_has_the_intensity_of_its_own_mix",
    ),
    "entities in a document": Guard(
        f"{GENERATION}/entsoe.py",
        'raise ValueError("a document type is declared")',
        "return",
        f"{GEN}::test_entsoe_documents_that_declare_entities_or_are_none_are_not_read",
    ),
    "key in the query quoted back": Guard(
        WEB,
        "hidden = [*secrets, *quoted,",
        "hidden = [*quoted,",
        KEY_HIDDEN,
    ),
    "key in the cause's address": Guard(WEB, "from (None if secrets else error)", "from error", KEY_HIDDEN),
    "key in a library's log": Guard(WEB, ".setLevel(logging.INFO)", "", KEY_HIDDEN),
}


@pytest.mark.parametrize("trap", GUARDS)
def test_each_guard_is_in_the_source_and_has_its_test(trap):
    guard = GUARDS[trap]
    assert (PACKAGE / guard.file).read_text().count(guard.guarded) == 1
    assert f"def {guard.test.split('::')[1]}(" in guard.tests.read_text()


@pytest.mark.soak
@pytest.mark.parametrize("trap", GUARDS)
def test_without_its_guard_each_trap_is_noticed(trap, tmp_path):
    guard = GUARDS[trap]
    shutil.copytree(PACKAGE, tmp_path / "carbonfleet", ignore=shutil.ignore_patterns("__pycache__"))
    source = tmp_path / "carbonfleet" / guard.file
    source.write_text(source.read_text().replace(guard.guarded, guard.bare))
    compile(source.read_text(), str(source), "exec")
    command = [sys.executable, "-m", "pytest", str(guard.tests), "-x", "--timeout", str(SECONDS)]
    command += ["-k", guard.test.split("::")[1]]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    run = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, cwd=HERE.parents[1])
    assert run.returncode == 1, f"{trap}: {guard.test} does not notice\n{run.stdout[-2000:]}"
    noticed = re.search(r"^(E  .*|\+* ?Timeout.*)$", run.stdout, re.MULTILINE)
    assert noticed, run.stdout[-2000:]
    assert not re.search(r"^E +(SyntaxError|NameError|ImportError|IndentationError)", run.stdout, re.MULTILINE)
