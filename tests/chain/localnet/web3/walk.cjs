// @solana/web3.js and @coral-xyz/anchor against a localnet, with the project's IDL unchanged.
// usage: node walk.cjs RPC_URL WS_URL IDL PROGRAM_ID; prints one JSON object of what was seen.

const assert = require("node:assert/strict");
const { createHash } = require("node:crypto");
const { readFileSync } = require("node:fs");
const anchor = require("@coral-xyz/anchor");
const web3 = require("@solana/web3.js");

const [url, wsEndpoint, idlPath, programId] = process.argv.slice(2);
const connection = new web3.Connection(url, { commitment: "confirmed", wsEndpoint });
const authority = web3.Keypair.generate();
const provider = new anchor.AnchorProvider(connection, new anchor.Wallet(authority), { commitment: "confirmed" });
const program = new anchor.Program(JSON.parse(readFileSync(idlPath, "utf8")), programId, provider);
const pda = (...seeds) => web3.PublicKey.findProgramAddressSync(seeds, program.programId)[0];
const constitution = pda(Buffer.from("constitution"));
const sha256 = (text) => createHash("sha256").update(text).digest();
const MEMO = new web3.PublicKey("MemoSq4gqABAXKb96qnH8TysNcWxMyWCqXgDLGmfcHr");

async function walk() {
  const seen = { slots: 0, logs: [], accounts: [] };
  const latest = await connection.getLatestBlockhash();
  const drop = await connection.requestAirdrop(authority.publicKey, 10 * web3.LAMPORTS_PER_SOL);
  await connection.confirmTransaction({ signature: drop, ...latest }); // over the WebSocket
  assert.equal(await connection.getBalance(authority.publicKey), 10 * web3.LAMPORTS_PER_SOL);

  const id = new anchor.BN(sha256("policy").subarray(0, 8), "le");
  const policy = pda(Buffer.from("policy"), id.toArrayLike(Buffer, "le", 8));
  const subscriptions = [
    connection.onSlotChange(({ slot, parent }) => (assert.equal(parent, slot - 1), seen.slots++)),
    connection.onLogs(policy, ({ logs, err }) => (assert.equal(err, null), seen.logs.push(logs)), "confirmed"),
    connection.onAccountChange(policy, (account) => seen.accounts.push(account.data), "confirmed"),
  ];
  await new Promise((resolve) => setTimeout(resolve, 300));

  const hash = [...sha256("the constitution")];
  await program.methods
    .initialize(hash)
    .accounts({ constitution, authority: authority.publicKey, systemProgram: web3.SystemProgram.programId })
    .rpc();
  const founded = await program.account.constitution.fetch(constitution);
  assert.deepEqual(founded.hash, hash);
  assert.equal(founded.version, 1);
  assert.equal(founded.authority.toBase58(), authority.publicKey.toBase58());

  const accounts = { policy, authority: authority.publicKey, systemProgram: web3.SystemProgram.programId };
  const memo = new web3.TransactionInstruction({ programId: MEMO, keys: [], data: Buffer.from("anchored") });
  const signature = await program.methods
    .proposePolicy(id, "ALLOW read", { governance: {} }, { high: {} })
    .accounts(accounts)
    .postInstructions([
      await program.methods
        .enactPolicy()
        .accounts({ policy, constitution, authority: authority.publicKey })
        .instruction(),
      memo,
    ])
    .rpc();
  const enacted = await program.account.policy.fetch(policy);
  assert.equal(enacted.rule, "ALLOW read");
  assert.equal(enacted.isActive, true);
  assert.deepEqual(enacted.category, { governance: {} });
  const byFilter = await program.account.policy.all();
  assert.deepEqual(byFilter.map((one) => one.publicKey.toBase58()), [policy.toBase58()]);

  const context = {
    requiresGovernance: true,
    hasGovernanceApproval: false,
    involvesFunds: false,
    amount: new anchor.BN(0),
    authorizedLimit: new anchor.BN(0),
    caller: authority.publicKey,
  };
  const check = (hasGovernanceApproval) =>
    program.methods.checkCompliance("read", { ...context, hasGovernanceApproval }).accounts({ policy }).rpc();
  await check(true);
  await assert.rejects(check(false), (error) => {
    assert.ok(error instanceof anchor.AnchorError, String(error));
    assert.equal(error.error.errorCode.code, "ComplianceFailed");
    return error.error.errorCode.number === 6001;
  });

  const parsed = await connection.getParsedTransaction(signature, { maxSupportedTransactionVersion: 0 });
  assert.equal(parsed.transaction.message.instructions[2].parsed, "anchored");
  assert.equal(parsed.meta.innerInstructions[0].instructions[0].parsed.type, "createAccount");
  const [entry] = await connection.getSignaturesForAddress(policy, { limit: 1, until: signature });
  assert.ok(entry.slot >= parsed.slot);
  const block = await connection.getBlock(parsed.slot, { maxSupportedTransactionVersion: 0 });
  assert.ok(block.transactions.some((one) => one.transaction.signatures[0] === signature));

  const recent = await connection.getLatestBlockhash();
  const versioned = new web3.VersionedTransaction(
    new web3.TransactionMessage({
      payerKey: authority.publicKey,
      recentBlockhash: recent.blockhash,
      instructions: [web3.SystemProgram.transfer({ fromPubkey: authority.publicKey, toPubkey: policy, lamports: 1 })],
    }).compileToV0Message(),
  );
  versioned.sign([authority]);
  const simulated = await connection.simulateTransaction(versioned);
  assert.equal(simulated.value.err, null);
  const paid = await connection.sendTransaction(versioned);
  await connection.confirmTransaction({ signature: paid, ...recent });
  await assert.rejects(connection.sendTransaction(versioned), /already been processed/);
  const blockhash = web3.PublicKey.default.toBase58();
  const late = new web3.Transaction({ feePayer: authority.publicKey, blockhash, lastValidBlockHeight: 1 }).add(memo);
  late.sign(authority);
  await assert.rejects(connection.sendRawTransaction(late.serialize()), (error) => {
    assert.ok(error instanceof web3.SendTransactionError);
    return /Blockhash not found/.test(error.message);
  });

  await connection.getEpochInfo();
  await connection.getVersion();
  await connection.getSupply();
  await connection.removeSlotChangeListener(subscriptions[0]);
  await connection.removeOnLogsListener(subscriptions[1]);
  await connection.removeAccountChangeListener(subscriptions[2]);
  const [first] = seen.accounts;
  const decoded = program.coder.accounts.decode("Policy", first);
  return { policy: policy.toBase58(), signature, slots: seen.slots, logs: seen.logs.length, rule: decoded.rule };
}

walk().then(
  (seen) => (console.log(JSON.stringify(seen)), process.exit(0)),
  (error) => (console.error(error), process.exit(1)),
);
