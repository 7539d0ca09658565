// A program with the npm package `openid-client`, step by step: it prints where to send the browser,
// reads the address that the browser came back to, and prints what it learned.
import { createInterface } from "node:readline/promises";
import * as client from "openid-client";

const [issuer, id, secret, back, how] = process.argv.slice(2);
const ways = { post: client.ClientSecretPost(secret), basic: client.ClientSecretBasic(secret) };
const config = await client.discovery(new URL(issuer), id, secret, ways[how], {
  execute: [client.allowInsecureRequests], // http, on this machine
});
const verifier = client.randomPKCECodeVerifier();
const state = client.randomState();
const nonce = client.randomNonce();
const there = client.buildAuthorizationUrl(config, {
  redirect_uri: back,
  scope: "openid profile email groups offline_access",
  code_challenge: await client.calculatePKCECodeChallenge(verifier),
  code_challenge_method: "S256",
  state,
  nonce,
});
console.log(there.href);

const lines = createInterface({ input: process.stdin });
for await (const line of lines) {
  const tokens = await client.authorizationCodeGrant(config, new URL(line), {
    pkceCodeVerifier: verifier,
    expectedState: state,
    expectedNonce: nonce,
    idTokenExpected: true,
  });
  const claims = tokens.claims();
  const info = await client.fetchUserInfo(config, tokens.access_token, claims.sub);
  const again = await client.refreshTokenGrant(config, tokens.refresh_token);
  const later = await client.fetchUserInfo(config, again.access_token, claims.sub);
  console.log(JSON.stringify({ claims, info, later }));
  break;
}
