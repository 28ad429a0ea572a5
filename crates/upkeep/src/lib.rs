//! What must happen without a request: settle open calls, compare with OpenRouter, the schedule.
