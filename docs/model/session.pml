/* SPDX-License-Identifier: MIT */
/*
 * Registration and session, with the host as a Dolev-Yao attacker. README.md beside this tells what
 * is modelled, which line of the code each step is, and what is left out.
 *
 * There are no channels: the attacker is the network. To send is to let the attacker know; to
 * receive is to be handed anything that the attacker knows or can make. So dropping, replaying,
 * reordering and injecting need no steps of their own.
 *
 * Each of the macros NO_... leaves one check out: check.py runs them all.
 */

#define LIVES 2 /* starts of the approved IDS, one after the other or side by side */
#define NONCES 2
#define SESSIONS 2
#define REQUESTS 3 /* at most, of each life; any of them may be a close, and is then the last */

#define EVE LIVES           /* the attacker as a party: her secret, her IDS that nobody approves */
#define NEVER_ISSUED NONCES /* a nonce that she made up */
#define NONE 255

#ifdef NO_SIGNATURE_CHECK
#define signature_checked false
#else
#define signature_checked true
#endif
#ifdef NO_MEASUREMENT_CHECK
#define measurement_checked false
#else
#define measurement_checked true
#endif
#ifdef NO_BINDING_CHECK
#define binding_checked false
#else
#define binding_checked true
#endif
#ifdef NO_NONCE_CHECK
#define nonce_checked false
#else
#define nonce_checked true
#endif
#ifdef NO_HYPERVISOR_CHECK
#define hypervisor_checked false
#else
#define hypervisor_checked true
#endif
#ifdef NO_COUNTER_CHECK
#define counter_checked false
#else
#define counter_checked true
#endif
#ifdef NO_ANSWER_COUNTER_CHECK
#define answer_counter_checked false
#else
#define answer_counter_checked true
#endif
#ifdef NO_COUNTER_STEP
#define counter_grows false
#else
#define counter_grows true
#endif
#ifdef NO_SESSION_KEYS
#define keys_differ false
#else
#define keys_differ true
#endif
#ifdef NO_DIRECTION
#define directions_differ false
#else
#define directions_differ true
#endif
#ifdef NO_END_AT_CLOSE
#define close_honoured false
#else
#define close_honoured true
#endif
#ifdef NO_END_AT_LOSS
#define loss_honoured false
#else
#define loss_honoured true
#endif

/* --- The hypervisor core */

mtype:nonce = { unissued, fresh, used, forgotten };
mtype:nonce nonces[NONCES + 1];
byte issued;

typedef Session {
    bool open;
    byte secret;   /* whose */
    byte counter;  /* the greatest so far */
    byte answered; /* bit c: an answer with counter c was sealed; bit 0 is the confirmation */
    bool over;     /* what is true, whatever the core believes */
};
Session sessions[SESSIONS];
byte session_count;

/* --- The approved IDS */

mtype:life = { off, binding, registered, asking, lost };

typedef Ids {
    mtype:life life;
    byte nonce;
    bool enrolled;    /* its secret is sealed to the enrolled hypervisor, not to the host's own */
    byte session;     /* the id that it believes */
    byte counter;     /* of the last request */
    byte closed_with; /* the counter of its close */
    byte accepted;    /* bit c: an answer to request c was accepted */
    bool over;        /* what is true, whatever the IDS believes */
};
Ids ids[LIVES];

/* --- The authority's word for a binding. Below LIVES a binding is that of a life; from there on
       it is one that EVE made, for nonce (binding - LIVES). Whatever she changes in a life's
       binding makes it one of hers: the digest covers all of it. */

#define BINDINGS (LIVES + NONCES + 1)
bool approved[BINDINGS];
#define is_eves(b) ((b) >= LIVES)
#define exists(b) (is_eves(b) || ids[b].life != off)

#define nonce_of(b) (is_eves(b) -> (b) - LIVES : ids[b].nonce)

#define bit(c) (1 << (c))

inline end_session(s) {
    sessions[s].over = true;
    sessions[s].open = !close_honoured
}

/* To speak is to seal an answer. Twice with one key and counter would break AES-GCM. */
inline speak(s, c) {
    assert(!sessions[s].over);                    /* a closed session never speaks */
    assert((sessions[s].answered & bit(c)) == 0); /* each request is answered once */
    sessions[s].answered = sessions[s].answered | bit(c)
}

/* A step is a call, and atomic as it is in the core, which serves one at a time. */
proctype hypervisor() {
    byte b, w, s, c;
    byte word_nonce;
end:
    do
    /* identity: anybody may ask */
    :: atomic {
        issued < NONCES ->
        nonces[issued] = fresh;
        printf("the hypervisor issues nonce %d\n", issued);
        issued++
    }
    /* a lifetime is over, the table is full, or the hypervisor starts anew */
    :: atomic {
        select(c : 0 .. NONCES - 1);
        if
        :: nonces[c] == fresh ->
            nonces[c] = forgotten;
            printf("the hypervisor forgets nonce %d\n", c)
        :: else
        fi;
        c = 0
    }
    /* open: any binding, with the authority's word for any, or with a word that EVE wrote */
    :: atomic {
        select(b : 0 .. BINDINGS - 1);
        select(w : 0 .. BINDINGS - 1);
        word_nonce = nonce_of(w);
        if
        :: exists(b) && exists(w) && session_count < SESSIONS &&
            (approved[w] || !signature_checked) &&
            (nonces[word_nonce] == fresh || !nonce_checked) &&
            (w == b || !binding_checked) ->
            if
            :: word_nonce != NEVER_ISSUED -> nonces[word_nonce] = used
            :: else
            fi;
            /* HPKE opens only what was sealed to this hypervisor */
            if
            :: is_eves(b) || ids[b].enrolled ->
                s = session_count;
                sessions[s].secret = (is_eves(b) -> EVE : b);
                printf("the hypervisor opens session %d for binding %d\n", s, b);
                assert(sessions[s].secret != EVE); /* only an approved IDS gets a session */
                assert(s == 0 || sessions[0].secret != b); /* a registration is good once */
                sessions[s].open = true;
                session_count++;
                speak(s, 0)
            :: else
            fi
        :: else
        fi;
        b = 0; w = 0; s = 0; word_nonce = 0
    }
    /* request and close: any that was ever sealed for a session that is open */
    :: atomic {
        select(b : 0 .. LIVES - 1);
        select(c : 1 .. REQUESTS);
        s = ids[b].session;
        if
        :: s == NONE || c > ids[b].counter
        :: else ->
            if
            :: !sessions[s].open || sessions[s].secret != b
            :: else ->
                if
                :: c > sessions[s].counter || !counter_checked ->
                    printf("the hypervisor answers request %d of session %d\n", c, s);
                    speak(s, c);
                    sessions[s].counter = c;
                    if
                    :: c == ids[b].closed_with -> end_session(s)
                    :: else
                    fi
                :: else ->
                    printf("the hypervisor gets request %d again and ends session %d\n", c, s);
                    end_session(s)
                fi
            fi
        fi;
        b = 0; s = 0; c = 0
    }
    /* a message whose tag fails; expiry, revocation, another epoch, a VM that is gone */
    :: atomic {
        select(s : 0 .. SESSIONS - 1);
        if
        :: sessions[s].open && !sessions[s].over ->
            printf("the hypervisor ends session %d\n", s);
            end_session(s)
        :: else
        fi;
        s = 0
    }
    od
}

proctype authority() {
    byte b;
end:
    do
    :: atomic {
        select(b : 0 .. BINDINGS - 1);
        if
        /* Nobody forges quotes: this is the approved enclave's own binding. Which hypervisor it
           is sealed to nobody can see; the evidence says whatever the host wrote there. */
        :: !is_eves(b) && exists(b) && !approved[b] ->
            approved[b] = true;
            printf("the authority approves binding %d\n", b)
        /* EVE has quotes of enclaves of her own, with another measurement. */
        :: is_eves(b) && !approved[b] && !measurement_checked ->
            approved[b] = true;
            printf("the authority approves EVE's binding %d\n", b)
        :: else
        fi;
        b = 0
    }
    od
}

inline lose(i) {
    ids[i].over = true;
    ids[i].life = (loss_honoured -> lost : registered);
    printf("IDS %d loses its session\n", i)
}

proctype approved_ids(byte i) {
    byte s, c;
end:
    do
    /* the identity that the host shows it: any nonce, and a key of the host's own if it likes */
    :: atomic {
        ids[i].life == off ->
        select(c : 0 .. NONCES);
        if
        :: c == NEVER_ISSUED || c < issued ->
            ids[i].nonce = c;
            if
            :: ids[i].enrolled = true;
                printf("IDS %d seals its secret for nonce %d\n", i, c)
            :: ids[i].enrolled = false;
                printf("IDS %d seals its secret for nonce %d to the host\n", i, c)
            fi;
            ids[i].life = binding
        :: else
        fi;
        c = 0
    }
    /* The authority's word names the enrolled hypervisor. Then a confirmation: what the hypervisor
       sealed under this secret, or what the host sealed, when it knows the secret. */
    :: atomic {
        ids[i].life == binding && approved[i] && (ids[i].enrolled || !hypervisor_checked) ->
        select(s : 0 .. SESSIONS - 1);
        if
        :: !ids[i].enrolled || (s < session_count && sessions[s].secret == i) ->
            ids[i].session = s;
            ids[i].life = registered;
            printf("IDS %d believes that it has session %d\n", i, s);
            assert(ids[i].enrolled && sessions[s].secret == i) /* it is the enrolled hypervisor's */
        :: else
        fi;
        s = 0
    }
    /* any other word or confirmation */
    :: atomic {
        ids[i].life == binding ->
        ids[i].over = true;
        ids[i].life = lost
    }
    :: atomic {
        ids[i].life == registered && ids[i].counter < REQUESTS && ids[i].closed_with == NONE ->
        ids[i].counter = (counter_grows -> ids[i].counter + 1 : 1);
        ids[i].life = asking;
        printf("IDS %d seals request %d\n", i, ids[i].counter);
        assert(!ids[i].over); /* a lost session is not used again */
        if
        :: ids[i].closed_with = ids[i].counter; printf("... which is a close\n")
        :: true
        fi
    }
    /* any answer that was ever sealed; that of a confirmation is for another command */
    :: atomic {
        ids[i].life == asking ->
        select(s : 0 .. SESSIONS - 1);
        select(c : 1 .. REQUESTS);
        if
        :: s >= session_count || (sessions[s].answered & bit(c)) == 0
        :: else ->
            if
            :: (s == ids[i].session || !keys_differ) &&
                (c == ids[i].counter || !answer_counter_checked) ->
                printf("IDS %d accepts answer %d of session %d\n", i, c, s);
                assert(sessions[s].secret == i);         /* an answer is of its own session */
                assert((ids[i].accepted & bit(c)) == 0); /* an answer is accepted once */
                assert(c == ids[i].counter);             /* an answer is for its own request */
                ids[i].accepted = ids[i].accepted | bit(c);
                ids[i].life = (c == ids[i].closed_with -> lost : registered)
#ifdef HONEST_RUN
                s = bit(REQUESTS + 1) - 2; /* all answers, and the last was that of a close */
                c = ids[0].accepted == s && ids[0].life == lost &&
                    ids[1].accepted == s && ids[1].life == lost;
                assert(!c) /* no two IDS ever finish their work */
#endif
            :: else -> lose(i)
            fi
        fi;
        s = 0; c = 0
    }
    /* its own request, reflected */
    :: atomic {
        ids[i].life == asking && !directions_differ ->
        printf("IDS %d accepts its own request %d as the answer\n", i, ids[i].counter);
        s = ids[i].session;
        c = ids[i].counter;
        assert((sessions[s].answered & bit(c)) != 0); /* only the hypervisor answers */
        s = 0; c = 0;
        ids[i].life = registered
    }
    /* bytes that do not authenticate, or a refusal in the clear */
    :: atomic { ids[i].life == asking -> lose(i) }
    /* nothing came: the next request has the next counter */
    :: atomic {
        ids[i].life == asking && ids[i].closed_with == NONE ->
        ids[i].life = registered;
        printf("IDS %d gets no answer\n", i)
    }
    od
}

init {
    byte i;
    atomic {
        for (i : 0 .. NONCES) {
            nonces[i] = unissued
        }
        for (i : 0 .. LIVES - 1) {
            ids[i].life = off;
            ids[i].session = NONE;
            ids[i].closed_with = NONE;
            run approved_ids(i)
        }
        run hypervisor();
        run authority();
        i = 0
    }
}
