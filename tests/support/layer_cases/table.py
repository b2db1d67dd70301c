"""All cases by name; a hyphen divides what is a sibling from its family."""

from __future__ import annotations

from support.layer_cases import attention, computed, experts, fed, fixed

CASES = computed.CASES | fixed.CASES | attention.CASES | experts.CASES | fed.CASES
