//! What a step's results mean for sequences and their clients.

use std::{sync::Arc, time::Instant};

use super::{ActiveRequest, EngineCore};
use crate::{FinishReason, GeneratedToken, Sampled, TokenEvent, sequence::Sequence};

impl EngineCore {
    /// Writes the results of a step into the sequences.
    pub(super) fn apply(&mut self, now: Instant) {
        self.take_prompt_logprobs();
        let mut output = std::mem::take(&mut self.output);
        let computed = output.computed.unwrap_or(usize::MAX);
        let mut sampled = output.sampled.drain(..).peekable();
        for at in 0..self.plan.rows.len() {
            let (row, slot) = (self.plan.rows[at], self.scheduler.row_slots[at]);
            if let Some(failure) = output.failed.iter().find(|failure| failure.id == row.id) {
                let reason = FinishReason::Error(failure.message.as_str().into());
                self.end(slot, reason, false, now);
                continue;
            }
            let sequence = &mut self.scheduler.sequences[slot];
            let kept = row.len.min(computed.saturating_sub(row.token_offset));
            sequence.computed += kept;
            sequence.scheduled = 0;
            if row.start < sequence.prompt_len && sequence.prompt_computed() {
                self.scheduler.kv.offer_tail(sequence);
                self.wake_siblings(slot);
            } else {
                self.scheduler.kv.offer_full(sequence);
            }
            if row.sample && kept == row.len {
                if let Some(token) = sampled.next_if(|sampled| sampled.id == row.id) {
                    self.take_token(slot, token, now);
                } else {
                    let reason = FinishReason::Error("the executor returned no token".into());
                    self.end(slot, reason, false, now);
                }
            }
        }
        drop(sampled);
        self.output = output;
    }

    /// Values of positions that are known already come again after a preemption.
    fn take_prompt_logprobs(&mut self) {
        let mut row = 0;
        for values in self.output.prompt_logprobs.drain(..) {
            let rows = &self.plan.rows;
            if rows.get(row).is_none_or(|row| row.id != values.id) {
                row = rows.iter().position(|row| row.id == values.id).unwrap_or(rows.len());
            }
            let Some(&slot) = self.scheduler.row_slots.get(row) else { continue };
            let request = &mut self.requests[self.scheduler.sequences[slot].request];
            if values.position == request.prompt_logprobs.len() + 1 {
                request.prompt_logprobs.push(values.logprobs);
            }
        }
    }

    /// The prompt's blocks are in the cache now, and that is where the others find them.
    fn wake_siblings(&mut self, slot: usize) {
        let request = &mut self.requests[self.scheduler.sequences[slot].request];
        if std::mem::take(&mut request.sleeping) {
            for &sibling in &request.slots[1..] {
                self.scheduler.enqueue(sibling);
            }
        }
    }

    fn take_token(&mut self, slot: usize, sampled: Sampled, now: Instant) {
        let sequence = &mut self.scheduler.sequences[slot];
        if sequence.first_token.is_none() {
            sequence.first_token = Some(now);
            self.stats.prompt_tokens += sequence.prompt_len as u64;
            let known = self.requests[sequence.request].prompt_logprobs.len();
            if !sequence.prompt_event_sent && known + 1 != sequence.prompt_len {
                let message = format!(
                    "the executor returned log-probabilities of {known} of {} prompt tokens",
                    sequence.prompt_len - 1
                );
                self.end(slot, FinishReason::Error(message.into()), true, now);
                return;
            }
            sequence.reads_cache = sequence.cacheable;
        }
        sequence.last_token = Some(now);
        sequence.tokens.push(sampled.token);
        sequence.unsent.push(GeneratedToken { id: sampled.token, logprobs: sampled.logprobs });
        self.stats.generated_tokens += 1;
        if let Some(reason) = finish_reason(sequence) {
            self.end(slot, reason, true, now);
            return;
        }
        let request = &self.requests[sequence.request];
        if request.events.capacity() > request.reserved_events {
            emit(request, sequence);
        }
    }

    /// Takes a sequence out and tells its client. `keep` says whether what it computed may be used
    /// by others.
    pub(super) fn end(&mut self, slot: usize, reason: FinishReason, keep: bool, now: Instant) {
        let Some(mut sequence) = self.scheduler.remove(slot, keep) else { return };
        self.stats.finished.count(&reason);
        self.timed -= usize::from(sequence.is_timed());
        let owner = sequence.request;
        let request = &mut self.requests[owner];
        emit(request, &mut sequence);
        // There is room: `RESERVED_EVENTS` are left free for each continuation.
        let _ = request.events.try_send(TokenEvent::Finished {
            index: sequence.index(),
            reason,
            usage: sequence.usage(),
            timing: sequence.timing(now),
        });
        let led = request.sleeping && request.slots[0] == slot;
        request.slots.retain(|&other| other != slot);
        if request.slots.is_empty() {
            self.requests.remove(owner);
        } else if led {
            self.promote(owner);
        }
    }

    /// The continuation that was to compute the prompt is gone: the next one does.
    fn promote(&mut self, owner: usize) {
        let request = &mut self.requests[owner];
        request.prompt_logprobs.clear();
        let leader = request.slots[0];
        let sequence = &mut self.scheduler.sequences[leader];
        if request.wants_prompt_logprobs.is_some() {
            Arc::make_mut(&mut sequence.params).prompt_logprobs = request.wants_prompt_logprobs;
            sequence.reads_cache = false;
        }
        self.scheduler.enqueue(leader);
    }
}

/// Sends what the client has not received. The caller knows that there is room.
fn emit(request: &ActiveRequest, sequence: &mut Sequence) {
    let index = sequence.index();
    if sequence.unsent.is_empty() {
        return;
    }
    if !std::mem::replace(&mut sequence.prompt_event_sent, true) {
        let logprobs = request.prompt_logprobs.clone();
        let _ = request.events.try_send(TokenEvent::Prompt { index, logprobs });
    }
    let tokens = std::mem::take(&mut sequence.unsent);
    let cached = sequence.usage().cached;
    let _ = request.events.try_send(TokenEvent::Tokens { index, tokens, cached });
}

/// Whether the token generated last is the end.
fn finish_reason(sequence: &Sequence) -> Option<FinishReason> {
    let (params, generated) = (&sequence.params, sequence.generated());
    let token = sequence.tokens.last().copied()?;
    if generated >= params.min_tokens as usize {
        if !params.ignore_eos && params.eos_token_ids.contains(&token) {
            return Some(FinishReason::Eos);
        }
        if params.stop_token_ids.contains(&token) {
            return Some(FinishReason::StopToken(token));
        }
    }
    (sequence.tokens.len() >= sequence.max_len).then_some(FinishReason::Length)
}
