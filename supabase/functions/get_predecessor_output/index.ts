export { default } from "../get-predecessor-output/index.ts";
