// Verb by verb: the SQL function, who may call it, and its arguments, which are its parameters without p_.
import type { Fields } from "../_shared/fields.ts";

interface Verb {
  function: string;
  /** A scope of the token; anyone: every caller, for what is his; service: only the service, for everybody's. */
  right: "work" | "enqueue" | "anyone" | "service";
  fields: Fields;
  /** The SQL function knows no owner. */
  isForAll?: true;
  /** Who calls is the holder, or becomes it. */
  isHolders?: true;
}

const CLAIM: Fields = { task_id: "text", claim_token: "text" };
const TASK: Fields = { task_id: "text" };

export const VERBS: Record<string, Verb> = {
  start: {
    function: "start_task",
    right: "work",
    fields: {
      task_id: "text",
      attempt: "integer",
      worker_id: "text",
      flow_run_id: "uuid?",
      request_id: "text?",
      lease: "number?",
    },
    isHolders: true,
  },
  dispatched: {
    function: "dispatched_task",
    right: "work",
    fields: { ...CLAIM, flow_run_id: "uuid", lease: "number?" },
  },
  wait: { function: "wait_task", right: "work", fields: CLAIM },
  release: { function: "release_task", right: "work", fields: { ...TASK, claim_token: "text?" }, isHolders: true },
  cancel: { function: "cancel_task", right: "enqueue", fields: TASK },
  retry: { function: "retry_task", right: "enqueue", fields: { ...TASK, attempts: "integer?" } },
  get: { function: "get_task", right: "anyone", fields: TASK },
  children: { function: "task_children", right: "anyone", fields: { parent_id: "text" } },
  list: {
    function: "list_tasks",
    right: "anyone",
    fields: { status: "texts?", task_type: "texts?", project_id: "uuid?", parent_id: "text?", limit: "integer?" },
  },
  predecessors: { function: "task_predecessors", right: "anyone", fields: TASK },
  segments: { function: "completed_segments", right: "anyone", fields: { run_id: "text", project_id: "uuid?" } },
  note_worker: {
    function: "note_worker",
    right: "work",
    fields: { worker_id: "text", current_model: "text?", metadata: "object" },
  },
  workers: { function: "list_workers", right: "anyone", fields: { limit: "integer?" } },
  pulse: { function: "queue_pulse", right: "anyone", fields: {}, isForAll: true },
  rescue: { function: "rescue_tasks", right: "service", fields: { lost: "json?", limit: "integer?" }, isForAll: true },
  prune: {
    function: "prune_tasks",
    right: "service",
    fields: { older_than_seconds: "number", limit: "integer?" },
    isForAll: true,
  },
};

/** Any argument of any verb; each verb then looks at its own. */
export const ARGUMENTS: Fields = Object.fromEntries(
  Object.values(VERBS).flatMap((verb) => Object.keys(verb.fields)).map((name) => [name, "json?"]),
);
