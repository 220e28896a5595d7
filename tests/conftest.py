"""Tests never see the installation of the person who runs them."""

import os
import tempfile

os.environ["INTERP_HOME"] = tempfile.mkdtemp(prefix="interp-tests-")
os.environ.pop("INTERP_LAKE", None)
