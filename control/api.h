/* SPDX-License-Identifier: MIT */
/* The machine's API: requests in HTTP and JSON become verbs. */
#ifndef API_H
#define API_H

#include "control/server.h"
#include "control/verbs.h"

/* Answers the request of c->in. */
void api_request(struct control *ctl, struct client *c);

#endif
