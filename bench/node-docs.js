// Peer "node-docs": the usual Express snippet. Raw body, HMAC check, ACK, dedupe in a Set in memory (NOT durable).
'use strict';
const express = require('express');
const crypto = require('crypto');

const SECRET = process.env.ATHOS_WEBHOOK_SECRET;
const TOLERANCE = 300;
const seen = new Set();
const app = express();

function verify(header, body) {
  if (!header) return false;
  const parts = Object.fromEntries(header.split(',').map((p) => p.trim().split('=')));
  const t = Number(parts.t);
  if (!Number.isInteger(t) || Math.abs(Math.floor(Date.now() / 1000) - t) > TOLERANCE) return false;
  const expected = crypto.createHmac('sha256', SECRET).update(`${parts.t}.`).update(body).digest();
  const got = Buffer.from(parts.v1 || '', 'hex');
  return got.length === expected.length && crypto.timingSafeEqual(got, expected);
}

app.post('/athos/webhook', express.raw({ type: 'application/json' }), (req, res) => {
  const id = req.get('X-Athos-Webhook-Id');
  if (!id || !verify(req.get('X-Athos-Signature'), req.body)) return res.status(401).json({ error: 'invalid signature' });
  const event = JSON.parse(req.body);
  if (seen.has(id)) return res.status(200).json({ received: true, duplicate: true });
  seen.add(id);
  if (event.event === 'never') console.log(event);
  res.status(200).json({ received: true });
});

app.listen(Number(process.env.PORT), '127.0.0.1');
