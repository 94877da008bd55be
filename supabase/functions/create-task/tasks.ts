// The names that clients use for the fields of a task. What the values may be is the database's to say.
import { checkNames } from "../_shared/fields.ts";
import { invalid, type Json, type JsonObject } from "../_shared/refusal.ts";

export const TASK_FIELDS = {
  task_id: "text?",
  id: "text?",
  task_type: "json?",
  params: "json?",
  project_id: "json?",
  dependant_on: "json?",
  depends_on: "json?",
  parent_id: "json?",
  priority: "json?",
  scheduled_at: "json?",
  max_attempts: "json?",
  correlation_id: "json?",
  brief_id: "json?",
  mandate: "json?",
  max_ticks: "json?",
} as const;

/** Columns that exist and that only the server writes. */
export const OWNED = [
  "status",
  "user_id",
  "worker_id",
  "attempts",
  "claim_token",
  "waiting",
  "lease_expires_at",
  "output_location",
  "error_message",
  "result",
  "tick",
  "root_task_id",
  "order_key",
  "flow_run_id",
  "created_at",
  "updated_at",
  "generation_started_at",
  "generation_processed_at",
];

/** A task as `enqueue_tasks` takes it: `task_id` is an old name of `id`, and `dependant_on` may be a list. */
export function taskOf(fields: JsonObject, prefix = ""): JsonObject {
  const { task_id, id, dependant_on, depends_on, ...others } = fields;
  if (given(task_id) && given(id) && task_id !== id) {
    throw invalid(`${prefix}task_id`, "and id are two names of one field and differ.", "Send one of them.");
  }
  if (given(dependant_on) && given(depends_on)) {
    throw invalid(`${prefix}dependant_on`, "and depends_on are two names of one field.", "Send one of them.");
  }
  const dependencies = given(depends_on) ? depends_on : dependant_on;
  return {
    ...others,
    ...(given(task_id) || given(id) ? { id: given(id) ? id : task_id } : {}),
    ...(given(dependencies) ? { depends_on: Array.isArray(dependencies) ? dependencies : [dependencies] } : {}),
  };
}

/** The tasks of a batch. Refuses fields of a single task beside it. */
export function tasksOf(batch: Json, single: JsonObject): JsonObject[] {
  const beside = Object.keys(single).find((name) => given(single[name]));
  if (beside) throw invalid(beside, "stands beside tasks.", "Put it into each task.");
  if (!Array.isArray(batch)) throw invalid("tasks", "is not a list.", 'Send {"tasks": [{…}, …]}.');
  return batch.map((task, at) => {
    const prefix = `tasks[${at}].`;
    if (task === null || typeof task !== "object" || Array.isArray(task)) {
      throw invalid(`tasks[${at}]`, "is not a JSON object.");
    }
    checkNames(task, Object.keys(TASK_FIELDS), OWNED, prefix);
    return taskOf(task, prefix);
  });
}

function given(value: Json | undefined): value is Exclude<Json, null> {
  return value !== undefined && value !== null;
}
