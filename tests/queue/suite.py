"""The queue's specification as sentences. Every backend subclasses `QueueSuite` and says how it is opened.

The topics are in the modules beside this one; `blocks/queue/protocol.py` is the same in prose.
"""

from __future__ import annotations

from tests.queue.suite_cascade import Cascading
from tests.queue.suite_children import WaitingForChildren
from tests.queue.suite_claim import Claiming
from tests.queue.suite_enqueue import Enqueueing
from tests.queue.suite_holder import Ending, Holding, Starting
from tests.queue.suite_readers import Reading
from tests.queue.suite_retry import Retrying
from tests.queue.suite_upkeep import Pruning, Rescuing
from tests.queue.suite_workers import NotingWorkers


class QueueSuite(
    Enqueueing,
    Claiming,
    Starting,
    Holding,
    Ending,
    Cascading,
    WaitingForChildren,
    Retrying,
    Rescuing,
    Pruning,
    Reading,
    NotingWorkers,
):
    pass
