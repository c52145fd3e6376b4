"""Steps repeated by the thousand: nothing may be left behind."""
