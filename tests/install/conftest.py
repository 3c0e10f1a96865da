"""What tests of the installation may use."""

from fixtures.installed_wheel import empty as empty
from fixtures.installed_wheel import installed as installed
