import { equal } from "node:assert/strict";
import { Buckets } from "./rate.ts";

Deno.test("a burst passes, the next waits, and time fills the bucket again", () => {
  let now = 0;
  const buckets = new Buckets({ perSecond: 2, burst: 3 }, () => now);
  equal([1, 2, 3].map(() => buckets.take("a")).join(), "0,0,0");
  equal(buckets.take("a"), 1);
  equal(buckets.take("b"), 0);
  now = 0.5;
  equal(buckets.take("a"), 0);
});

Deno.test("a slow rate tells whole seconds", () => {
  const buckets = new Buckets({ perSecond: 0.1, burst: 1 }, () => 0);
  buckets.take("a");
  equal(buckets.take("a"), 10);
});

Deno.test("the least recently seen caller is forgotten first", () => {
  const buckets = new Buckets({ perSecond: 1, burst: 1 }, () => 0, 2);
  for (const caller of ["a", "b", "a", "c"]) buckets.take(caller);
  equal(buckets.size, 2);
  equal(buckets.wait("a"), 1); // a was seen after b
});
