import pytest

# The suite's modules are no test files, and their asserts should explain themselves all the same.
pytest.register_assert_rewrite(
    "tests.queue.acts",
    "tests.queue.suite_enqueue",
    "tests.queue.suite_claim",
    "tests.queue.suite_holder",
    "tests.queue.suite_cascade",
    "tests.queue.suite_children",
    "tests.queue.suite_retry",
    "tests.queue.suite_upkeep",
    "tests.queue.suite_readers",
)
