"""The sensor that lets a DAG go on when its zone's electricity is clean, by the plan that `carbonfleet when` makes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, Literal

from airflow.sdk import BaseSensorOperator, PokeReturnValue
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSensorTimeout, TaskDeferred

if TYPE_CHECKING:
    from airflow.sdk import Context

    from carbonfleet.clock import Clock
    from carbonfleet.simulator.suggested_start import SuggestedStart

_STATE: Final = "carbonfleet_window"
"""Under which the task's state store has since when and until when it may wait, and what was planned last."""
_SHORTEST_HOURS: Final = 0.02
_LONGEST_HOURS: Final = 240
_LONGEST_SLACK: Final = timedelta(days=30)


class CleanWindowSensor(BaseSensorOperator):
    """Wait until the start, within a slack, from which work of some hours runs on the cleanest electricity.

    It is planned again each `poke_interval`, since forecasts change; where that fails, the start that was found before
    it holds. A retry has no more time than the first try had.

    The XCom is a dict: `start`, `end` and `latest_start` (ISO 8601), `zone`, `grams_per_kwh` (expected while the work
    runs), `at_once_grams_per_kwh` (the same of a start when the wait began), `saving_percent` and `source`.

    Args:
        zone: The electricity zone, such as `NO-NO1` (templated).
        hours: How long the work behind it takes (templated).
        slack: How long it may wait, such as `12h` or a timedelta, from the first try on (templated).
        latest_start: Instead of a slack: the last moment to start, as ISO 8601 with an offset (templated).
        signals: The path of a file of signal settings on the workers, or the settings themselves (templated); without,
            what `CARBONFLEET_SIGNALS` names there, or Electricity Maps by `ELECTRICITY_MAPS_TOKEN`, and what costs
            nothing.
        on_signal_loss: `fail` the task, or start `now`, where nothing is known of the zone.
        deferrable: Wait in the triggerer, without a worker slot.
        poke_interval: Seconds until it is planned again.
    """

    template_fields: Sequence[str] = ("zone", "hours", "slack", "latest_start", "signals")
    ui_color = "#d7ecd9"

    def __init__(
        self,
        *,
        zone: str,
        hours: float | str,
        slack: str | timedelta | None = None,
        latest_start: str | datetime | None = None,
        signals: str | Mapping[str, Any] | None = None,
        on_signal_loss: Literal["fail", "now"] = "fail",
        deferrable: bool = True,
        poke_interval: timedelta | float = 900,
        **kwargs: Any,  # noqa: ANN401 - the base class's own
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        if (slack is None) == (latest_start is None):
            raise ValueError("give slack or latest_start, one of the two")
        if on_signal_loss not in ("fail", "now"):
            raise ValueError(f"on_signal_loss must be fail or now, not {on_signal_loss!r}")
        self.zone, self.hours, self.slack, self.latest_start = zone, hours, slack, latest_start
        self.signals, self.on_signal_loss, self.deferrable = signals, on_signal_loss, deferrable

    def execute(self, context: "Context") -> Any:  # noqa: ANN401 - the base class's own
        """Wait in the triggerer until the start; without `deferrable`, as other sensors do."""
        return self._planned(context) if self.deferrable else super().execute(context)

    def execute_complete(self, context: "Context", event: object = None) -> dict[str, Any]:
        """Plan again, and go on or wait on."""
        return self._planned(context)

    def poke(self, context: "Context") -> PokeReturnValue:
        """Whether the start has come, as planned now."""
        from carbonfleet.clock import Clock

        found = self._plan(context, Clock.from_environment())
        return PokeReturnValue(is_done=found.is_now, xcom_value=_told(found) if found.is_now else None)

    def _planned(self, context: "Context") -> dict[str, Any]:
        from airflow.providers.standard.triggers.temporal import DateTimeTrigger

        from carbonfleet.clock import Clock

        clock = Clock.from_environment()
        found = self._plan(context, clock)
        if found.is_now:
            return _told(found)
        wait_seconds = clock.real_seconds(found.start - clock.now())
        moment = datetime.now(UTC) + timedelta(seconds=max(1.0, min(self.poke_interval, wait_seconds)))
        raise TaskDeferred(trigger=DateTimeTrigger(moment=moment), method_name="execute_complete")

    def _plan(self, context: "Context", clock: "Clock") -> "SuggestedStart":
        """The start as planned now, which the task's state keeps until it has come."""
        from pydantic import TypeAdapter

        from carbonfleet.signals import open_signals
        from carbonfleet.simulator.grid import ReplayError
        from carbonfleet.simulator.suggested_start import StartSuggestions, SuggestedStart

        store, now, kept = context["task_state_store"], clock.now(), TypeAdapter(SuggestedStart)
        state = store.get(_STATE) or {"since": now.isoformat(), "latest_start": self._latest_start(now).isoformat()}
        if now - datetime.fromisoformat(state["since"]) > timedelta(seconds=self.timeout):
            raise AirflowSensorTimeout(f"no start came within the sensor's timeout of {self.timeout:.0f} s")
        length, latest = self._length(), datetime.fromisoformat(state["latest_start"])
        last = kept.validate_python(state["last"]) if "last" in state else None
        service = open_signals(self._signal_settings(), clock)
        try:
            plans = StartSuggestions(service, self.zone, length, latest, last)
            found = plans.next(now, now_if_unknown=self.on_signal_loss == "now")
        except ReplayError as error:
            raise AirflowException(f"{error}; on_signal_loss='now' would start all the same") from error
        finally:
            service.close()
        if found.problem:
            self.log.warning("%s: the start is %s all the same", found.problem, found.start)
        self.log.info("start in %s: %s", self.zone, "now" if found.is_now else found.start)
        if found.is_now:
            store.delete(_STATE)
        else:
            store.set(_STATE, {**state, "last": kept.dump_python(found, mode="json")})
        return found

    def _length(self) -> timedelta:
        try:
            hours = float(self.hours)
        except ValueError:
            hours = 0.0
        if not _SHORTEST_HOURS <= hours <= _LONGEST_HOURS:
            raise AirflowFailException(f"hours must be from {_SHORTEST_HOURS} to {_LONGEST_HOURS}, not {self.hours!r}")
        return timedelta(hours=hours)

    def _latest_start(self, now: datetime) -> datetime:
        from carbonfleet.api.wire import parse_duration

        try:
            if self.slack is not None:
                latest = now + parse_duration(self.slack)
            else:
                latest = datetime.fromisoformat(str(self.latest_start))
        except ValueError as error:
            raise AirflowFailException(f"slack or latest_start: {error}") from error
        if latest.tzinfo is None:
            raise AirflowFailException(f"latest_start must have an offset, as in {latest.isoformat()}+00:00")
        if latest - now > _LONGEST_SLACK:
            raise AirflowFailException(
                f"slack or latest_start: {latest.isoformat()} is over {_LONGEST_SLACK.days} days off"
            )
        return latest

    def _signal_settings(self) -> Any:  # noqa: ANN401 - SignalSettings, whose module is imported here alone
        import os
        from pathlib import Path

        from pydantic import ValidationError

        from carbonfleet.api.problems import told
        from carbonfleet.signals import SettingsError, SignalSettings, load_settings

        try:
            if isinstance(self.signals, Mapping):
                return SignalSettings.model_validate(dict(self.signals))
            file = self.signals or os.environ.get("CARBONFLEET_SIGNALS")
            return load_settings(Path(file)) if file else SignalSettings()
        except SettingsError as error:
            raise AirflowFailException(str(error)) from error
        except ValidationError as error:
            raise AirflowFailException(f"signals: {told(error, SignalSettings)}") from error


def _told(found: "SuggestedStart") -> dict[str, Any]:
    """What the task hands on."""
    return {
        "start": found.start.isoformat(),
        "end": found.end.isoformat(),
        "latest_start": found.latest_start.isoformat(),
        "zone": found.zone,
        "grams_per_kwh": found.grams_per_kwh,
        "at_once_grams_per_kwh": found.at_once_grams_per_kwh,
        "saving_percent": found.saving_percent,
        "source": found.source or None,
    }
