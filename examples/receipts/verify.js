// Verifies a receipt, and prints what it says as JSON; nothing but Node.js is needed.
//
//     node examples/receipts/verify.js RECEIPT < KEYS      KEYS: ID:SECRET, separated by commas or lines
//
// Exit status 1: these keys have not signed it.

"use strict";

const { createHmac, timingSafeEqual } = require("node:crypto");
const { readFileSync } = require("node:fs");

/** The secrets by their ids, from the text of HotSKU's setting `receipt_keys`. */
function readKeys(text) {
  const parts = text.split(/[\n,]/).map((part) => part.trim());
  return new Map(parts.filter(Boolean).map((part) => [part.slice(0, part.indexOf(":")), part.slice(part.indexOf(":") + 1)]));
}

/** What a receipt says, or null where none of the keys has signed it. */
function verify(token, keys) {
  const parts = token.split(".");
  const [version, keyId, payload, signature] = parts;
  if (parts.length !== 4 || version !== "v1" || !keys.has(keyId)) return null;
  const signed = token.slice(0, token.lastIndexOf("."));
  const wanted = Buffer.from(createHmac("sha256", keys.get(keyId)).update(signed).digest("base64url"));
  const given = Buffer.from(signature);
  if (given.length !== wanted.length || !timingSafeEqual(given, wanted)) return null;
  return JSON.parse(Buffer.from(payload, "base64url").toString("utf8"));
}

module.exports = { readKeys, verify };

if (require.main === module) {
  const receipt = verify(process.argv[2] ?? "", readKeys(readFileSync(0, "utf8")));
  if (receipt !== null) console.log(JSON.stringify(receipt));
  process.exitCode = receipt === null ? 1 : 0;
}
