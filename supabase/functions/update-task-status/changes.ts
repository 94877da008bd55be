// What each status asks of the queue: one verb each.
import type { Caller } from "../_shared/caller.ts";
import type { Queue } from "../_shared/database.ts";
import { OLD_CLIENT_LEASE } from "../_shared/old_clients.ts";
import { Refusal } from "../_shared/refusal.ts";
import { demand } from "../_shared/serve.ts";

interface Report {
  task_id: string;
  claim_token?: string;
  output_location?: string;
  error?: string;
  retry?: boolean;
  delay?: number;
  tick?: number;
  max_ticks?: number;
  lease?: number;
}

type Change = (report: Report, queue: Queue, caller: Caller) => Promise<{ message: string; [more: string]: unknown }>;

export const CHANGES: Record<string, Change> = {
  "In Progress": async (report, queue, caller) => {
    demand(caller, "work");
    interface Renewal {
      lease_expires_at: string | null;
      cancelled: boolean;
    }
    // A message must not shorten the lease that the client got when it claimed without naming one.
    const renewal = await queue.hold<Renewal>("renew_task", {
      ...holder(report),
      p_lease: report.lease ?? OLD_CLIENT_LEASE,
      p_tick: report.tick,
      p_max_ticks: report.max_ticks,
      p_message: report.output_location,
    });
    if (renewal.cancelled) {
      const details = { task_id: report.task_id, status: "Cancelled" };
      throw new Refusal(409, "task_ended", "The task was cancelled.", { hint: "Stop working on it.", details });
    }
    return { message: "Progress noted", ...renewal };
  },
  "Complete": async (report, queue, caller) => {
    demand(caller, "work");
    const parameters = { ...holder(report), p_output_location: report.output_location };
    return { message: "Task completed", outcome: await queue.hold("complete_task", parameters) };
  },
  "Failed": async (report, queue, caller) => {
    demand(caller, "work");
    const outcome = await queue.hold("fail_task", {
      ...holder(report),
      // Old clients send the failure's text as the output, and decide for themselves when to try again.
      p_error: report.error ?? report.output_location ?? "The worker gave no reason.",
      p_retry: report.retry ?? false,
      p_delay: report.delay,
    });
    return { message: "Failure noted", outcome };
  },
  "Cancelled": async (report, queue, caller) => {
    demand(caller, "enqueue");
    return { message: "Task cancelled", outcome: await queue.ask("cancel_task", { p_task_id: report.task_id }) };
  },
  "Queued": async (report, queue, caller) => {
    demand(caller, "work");
    return { message: "Task released", outcome: await queue.hold("release_task", holder(report)) };
  },
};

function holder(report: Report): { p_task_id: string; p_claim_token: string | undefined } {
  return { p_task_id: report.task_id, p_claim_token: report.claim_token };
}
