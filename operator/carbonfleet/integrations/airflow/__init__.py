"""Airflow's own way to carbonfleet: an operator that trains, and a sensor that waits for clean hours.

What a DAG file imports is light: it takes nothing along but Airflow.
"""

from carbonfleet.integrations.airflow.clean_window import CleanWindowSensor
from carbonfleet.integrations.airflow.training import CarbonTrainingOperator

__all__ = ["CarbonTrainingOperator", "CleanWindowSensor"]
