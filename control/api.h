/* SPDX-License-Identifier: MIT */
/* The machine's API: requests in HTTP and JSON become verbs. */
#ifndef API_H
#define API_H

#include "control/server.h"
#include "control/verbs.h"

/* Answers the request of c->in. */
void api_request(struct control *ctl, struct client *c);

/* In pieces, for who has paths beside these. What a request asks for, as
 * verbs_do gives it; of a machine that is not there (ctl->m NULL) nothing. */
int api_run(struct control *ctl, const struct http *h, struct text *out);
/* Has it a body where it must, and none where it may not? 0 or -errno (said).
 */
int api_check_body(const struct http *h, bool bare);
/* 200 or 204, or where `err` is one 400 (-EFBIG: 413) and `why`; `out` is taken
 * over. */
void api_answer(struct client *c, int err, const char *why, struct text *out);

#endif
