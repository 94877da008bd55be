import { equal, match } from "node:assert/strict";
import { contentTypeOf, safeName } from "./names.ts";

const names: [given: string, safe: string][] = [
  ["output.mp4", "output.mp4"],
  ["../../etc/passwd", "_.._etc_passwd"],
  ["..", "file"],
  ["", "file"],
  ["a/b\\c.png", "a_b_c.png"],
  ["фильм 映画.mp4", "_.mp4"],
  ["a\u0000b", "a_b"],
  ["🎬🎬.mp4", "_.mp4"],
];
for (const [given, safe] of names) {
  Deno.test(`the name ${JSON.stringify(given)} is stored as ${safe}`, () => equal(safeName(given), safe));
}

Deno.test("a long name keeps its end, where the extension is", () => {
  match(safeName(`${"a".repeat(300)}.mp4`), /^a{116}\.mp4$/);
  equal(safeName(`a.${"b".repeat(119)}`), "b".repeat(119)); // no hidden file by being cut
});

Deno.test("the content type follows from the extension", () => {
  equal(contentTypeOf("A.MP4"), "video/mp4");
  equal(contentTypeOf("file"), "application/octet-stream");
});
