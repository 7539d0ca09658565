-- One more claim may depend on a circle, not on the admins only.

ALTER TABLE openid_clients RENAME COLUMN claim_of_members TO claim_outside;
ALTER TABLE openid_clients RENAME COLUMN claim_of_admins TO claim_inside;
ALTER TABLE openid_clients ADD COLUMN claim_circle TEXT NOT NULL DEFAULT 'admins';
